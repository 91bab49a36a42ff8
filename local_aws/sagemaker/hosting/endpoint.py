"""An endpoint: its record, how it is described, and how one fleet of serving processes takes over from another."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from local_aws.aws_errors import validation_error
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.failures import LONGEST_REASON
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.hosting.model import EndpointConfig
from local_aws.sagemaker.hosting.run import DeploymentError, Fleet, Variant

log = logging.getLogger(__name__)


@dataclass
class Endpoint:
    """An endpoint: `fleet` answers requests, `pending` is being started to replace it."""

    name: str
    arn: str
    config: EndpointConfig
    status: str = "Creating"
    failure_reason: str | None = None
    deployment_config: Document | None = None
    fleet: Fleet | None = None
    pending: Fleet | None = None
    creation_time: datetime = field(default_factory=now)
    last_modified_time: datetime = field(default_factory=now)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def turn(self, status: str, reason: str | None = None) -> None:
        """Enter a status."""
        self.status = status
        self.failure_reason = reason[:LONGEST_REASON] if reason else None
        self.last_modified_time = now()

    def variant(self, name: str) -> Variant:
        """A variant that serves; raises ValidationException for a name it does not have."""
        variant = self.fleet.variant(name) if self.fleet is not None else None
        if variant is None:
            raise validation_error(
                f'The variant name(s) "{name}" is/are not present within endpoint configuration "{self.config.arn}".'
            )
        return variant

    def check_in_service(self) -> None:
        """Raise ValidationException unless the endpoint can be updated now."""
        if self.status == "Failed":
            raise validation_error(f'Cannot update failed endpoint "{self.arn}". Delete it and create it again.')
        if self.status != "InService":
            raise validation_error(f'Cannot update in-progress endpoint "{self.arn}".')

    def deploy(self) -> None:
        """Start the pending fleet and let it take over, or roll back."""
        fresh, old = self.pending, self.fleet
        if fresh is None:
            return
        try:
            fresh.start()
        except DeploymentError as error:
            self._roll_back(str(error))
            return
        except Exception as error:
            log.exception("endpoint %s could not be deployed", self.name)
            self._roll_back(f"The local AWS failed: {type(error).__name__}: {error}")
            return
        with self.lock:
            self.pending = None
            if self.status == "Deleting":
                old = fresh
            else:
                self.fleet, self.config = fresh, fresh.config
                self.turn("InService")
        if old is not None:
            old.drain()
            old.stop()

    def _roll_back(self, reason: str) -> None:
        with self.lock:
            self.pending = None
            if self.status != "Deleting":
                self.turn("InService" if self.fleet is not None else "Failed", reason)

    def back_in_service(self) -> None:
        """End an update that started no process."""
        with self.lock:
            if self.status == "Updating":
                self.turn("InService")

    def summary(self) -> Document:
        """The endpoint as ListEndpoints gives it."""
        return {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "EndpointStatus": self.status,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
        }

    def describe(self) -> Document:
        """The endpoint as DescribeEndpoint gives it."""
        with self.lock:
            document = {
                **self.summary(),
                "EndpointConfigName": self.config.name,
                "FailureReason": self.failure_reason,
                "LastDeploymentConfig": self.deployment_config,
                "MetricsConfig": self.config.document.get("MetricsConfig"),
            }
            if self.fleet is not None:
                document["ProductionVariants"] = [variant.summary() for variant in self.fleet.variants]
                if self.pending is not None:
                    document["PendingDeploymentSummary"] = self.pending.summary()
            return document
