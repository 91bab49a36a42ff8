"""SageMaker's control plane in every account and region: which area answers which action."""

from __future__ import annotations

import threading
from typing import Any

from werkzeug.wrappers import Response

from local_aws import constraints
from local_aws.account import Aws, Server
from local_aws.aws_errors import AwsError
from local_aws.moto_backend import account_of
from local_aws.responses import json_response
from local_aws.sagemaker.core.area import A, Action, Area, Document
from local_aws.sagemaker.core.search import SearchResources
from local_aws.sagemaker.core.tags import Tags
from local_aws.sagemaker.hosting.api import Endpoints, Models
from local_aws.sagemaker.registry.api import ModelRegistry
from local_aws.sagemaker.training.api import TrainingJobs
from local_aws.sagemaker.transform.api import TransformJobs
from local_aws.sagemaker.tuning.api import TuningJobs
from local_aws.service import AwsRequest, NotHeldHere, Service

TARGET = "SageMaker."
AREAS: tuple[type[Area], ...] = (
    Tags,
    TrainingJobs,
    TuningJobs,
    Models,
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
        """The area of that class, so that areas can call each other."""
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


class SageMakers(Service):
    """SageMaker's control plane in every account and region, each made when it is first asked."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._made: dict[tuple[str, str], SageMaker] = {}

    def owns(self, request: AwsRequest) -> bool:
        """Whether an action of SageMaker is called."""
        return request.target.startswith(TARGET)

    def answer(self, request: AwsRequest) -> Response:
        """The document of an action; what runs nothing is left to moto."""
        action = request.target.removeprefix(TARGET)
        sagemaker = self.of(request)
        if action not in sagemaker.actions:
            _check_foreign(action, request)
            raise NotHeldHere
        return json_response(sagemaker.answer(action, request.document()), request.id)

    def of(self, request: AwsRequest) -> SageMaker:
        """The SageMaker of the account and region that a request is for."""
        place = (account_of(request), request.signed.region)
        with self._lock:
            if place not in self._made:
                self._made[place] = SageMaker(Aws(self._server, *place))
            return self._made[place]

    def all(self) -> list[SageMaker]:
        """Every SageMaker made so far."""
        with self._lock:
            return list(self._made.values())

    def close(self) -> None:
        """End every process of every account and region."""
        for sagemaker in self.all():
            sagemaker.close()


def _check_foreign(action: str, request: AwsRequest) -> None:
    """Refuse what moto could not recognise as a call of SageMaker."""
    if action not in constraints.service_model("sagemaker").operation_names:
        raise AwsError("UnknownOperationException", f"SageMaker has no action {action!r}.")
    if not request.signed.service:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
