"""SageMaker's control plane in one account and region: which area answers which action."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from local_aws import constraints
from local_aws.context import Aws, Server
from local_aws.sagemaker.core.area import A, Action, Area, Document
from local_aws.sagemaker.core.search import SearchResources
from local_aws.sagemaker.core.tags import Tags
from local_aws.sagemaker.hosting.api import Endpoints
from local_aws.sagemaker.hosting.model import Hosting
from local_aws.sagemaker.registry.api import ModelRegistry
from local_aws.sagemaker.training.api import TrainingJobs
from local_aws.sagemaker.transform.api import TransformJobs
from local_aws.sagemaker.tuning.api import Tuning

AREAS: tuple[type[Area], ...] = (
    Tags,
    TrainingJobs,
    Tuning,
    Hosting,
    Endpoints,
    TransformJobs,
    ModelRegistry,
    SearchResources,
)


class SageMaker:
    """One account's SageMaker in one region."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.areas: list[Area] = []
        self.actions: dict[str, Action] = {}
        for kind in AREAS:
            area = kind(self)
            self.areas.append(area)
            self.actions.update(area.actions)

    def area(self, kind: type[A]) -> A:
        """Return the area of that class, so that areas can call each other."""
        return next(area for area in self.areas if isinstance(area, kind))

    @property
    def resource_types(self) -> frozenset[str]:
        """The types of resources that the areas hold, as ARNs name them."""
        return frozenset().union(*(area.resource_types for area in self.areas))

    def answer(self, action: str, request: Any) -> Document:
        """Check a request against botocore's model and let its area answer it; raises AwsError.

        `action` must be one of `actions`; `request` is the decoded JSON body.
        """
        return self.actions[action](constraints.checked("sagemaker", action, request))

    def close(self) -> None:
        """End every process of every area."""
        for area in self.areas:
            area.close()


class SageMakers:
    """The SageMaker of every account and region, made when it is first asked."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._services: dict[tuple[str, str], SageMaker] = {}

    def of(self, account: str, region: str) -> SageMaker:
        """Return the SageMaker of one account in one region."""
        with self._lock:
            if (account, region) not in self._services:
                self._services[account, region] = SageMaker(Aws(self._server, account, region))
            return self._services[account, region]

    def all(self) -> Mapping[tuple[str, str], SageMaker]:
        """Return every SageMaker made so far by (account, region)."""
        with self._lock:
            return dict(self._services)

    def close(self) -> None:
        """End every process of every account and region."""
        for service in self.all().values():
            service.close()
