"""An endpoint: its record, how it is described, and how one fleet of serving processes takes over from another."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from local_aws.aws_errors import validation_error
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.failures import LONGEST_REASON
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.hosting import capture
from local_aws.sagemaker.hosting.asynchronous import AsyncConfig, Backlog
from local_aws.sagemaker.hosting.model import EndpointConfig
from local_aws.sagemaker.hosting.rollout import (
    CREATING,
    DELETING,
    WHOLE,
    CancelledError,
    Plan,
    RollBackError,
    Stage,
    Watch,
    capacity,
)
from local_aws.sagemaker.hosting.run import DeploymentError, Fleet, Variant

log = logging.getLogger(__name__)


@dataclass
class Endpoint:
    """An endpoint: `fleet` answers requests, `pending` is to replace it.

    While it does, it answers the share of the requests that the `stage` of the update gives it; `plan` and `alarm` (the
    reason to undo the update, if there is one) are the update's. `cancelled` is set when no update matters any more.
    `backlog` has the asynchronous requests, also those of a configuration before. `served_by` is called with its name
    and its variants' names when a fleet takes over.
    """

    name: str
    arn: str
    config: EndpointConfig
    served_by: Callable[[str, Sequence[str]], None] = field(default=lambda *_: None, repr=False)
    status: str = "Creating"
    failure_reason: str | None = None
    deployment_config: Document | None = None
    backlog: Backlog | None = field(default=None, repr=False)
    fleet: Fleet | None = None
    pending: Fleet | None = None
    plan: Plan = field(default_factory=Plan)
    alarm: Callable[[], str | None] = field(default=lambda: None, repr=False)
    stage: Stage = field(default_factory=lambda: Stage("Creating", CREATING))
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
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

    @property
    def instances(self) -> int:
        """How many instances serve."""
        return sum(variant.instances for variant in self.fleet.variants) if self.fleet is not None else 0

    @property
    def asynchronous(self) -> AsyncConfig | None:
        """How it answers asynchronously; None if it answers in real time."""
        return AsyncConfig.of(self.config.document.get("AsyncInferenceConfig"))

    def check_in_service(self) -> None:
        """Raise ValidationException unless the endpoint can be updated now."""
        if self.status == "Failed":
            raise validation_error(f'Cannot update failed endpoint "{self.arn}". Delete it and create it again.')
        if self.status != "InService":
            raise validation_error(f'Cannot update in-progress endpoint "{self.arn}".')

    def update(self, fleet: Fleet, plan: Plan, alarm: Callable[[], str | None]) -> None:
        """Enter an update to another fleet; `deploy` is what follows."""
        self.pending, self.plan, self.alarm = fleet, plan, alarm
        self.stage = Stage("Creating", CREATING)
        self.turn("Updating")

    def deploy(self) -> None:
        """Start the pending fleet and let it take over step by step, or roll back."""
        fresh, old = self.pending, self.fleet
        if fresh is None:
            return
        watch = Watch(self.plan, self.alarm, self.cancelled)
        try:
            fresh.start()
            if old is not None:
                self._shift_traffic(fresh, old, watch)
        except CancelledError:
            return
        except DeploymentError as error:
            self._end_update(str(error))
        except RollBackError as error:
            self._roll_back(fresh, str(error))
        except Exception as error:
            log.exception("endpoint %s could not be deployed", self.name)
            self._roll_back(fresh, f"The local AWS failed: {type(error).__name__}: {error}")
        else:
            self._take_over(fresh, old)

    def _shift_traffic(self, fresh: Fleet, old: Fleet, watch: Watch) -> None:
        """Give the new fleet its share of the requests, step by step; raises RollBackError, CancelledError."""
        plan = self.plan
        watch.hold(0)
        for fleet in (fresh, old):
            fleet.name_config()
        for share in plan.shares:
            words = capacity(plan, share)
            self._enter_stage(Stage("ActivatingTraffic", f"Activating traffic on {words}.", share))
            self._bake(watch, "WaitIntervalInSeconds", plan.wait, share)
        if plan.termination_wait:
            self._bake(watch, "TerminationWaitInSeconds", plan.termination_wait, WHOLE)

    def _bake(self, watch: Watch, setting: str, seconds: float, share: float) -> None:
        message = f"Baking for {seconds:g} seconds ({setting}) with traffic enabled on {capacity(self.plan, share)}."
        self._enter_stage(Stage("Baking", message, share))
        watch.hold(seconds)

    def _enter_stage(self, stage: Stage) -> None:
        with self.lock:
            self.stage = stage

    def _take_over(self, fresh: Fleet, old: Fleet | None) -> None:
        with self.lock:
            self.pending = None
            if self.status == "Deleting":
                old = fresh
            else:
                self.fleet, self.config = fresh, fresh.config
                self.served_by(self.name, [variant.name for variant in fresh.variants])
                self.turn("InService")
        if old is not None:
            old.drain()
            old.stop()

    def _roll_back(self, fresh: Fleet, reason: str) -> None:
        """Give all requests back to the old fleet, end the new one, and be in service again."""
        with self.lock:
            self.stage = Stage("Deleting", DELETING)
            if self.status != "Deleting" and self.fleet is not None:
                self.turn("RollingBack", reason)
        fresh.drain()
        fresh.stop()
        self._end_update(reason)

    def _end_update(self, reason: str) -> None:
        with self.lock:
            self.pending = None
            if self.status != "Deleting":
                self.turn("InService" if self.fleet is not None else "Failed", reason)

    def route(self, target: str | None) -> tuple[Fleet, Variant] | None:
        """A fleet and a variant for a request, by the shares of the fleets and the weights of the variants.

        None while nothing serves, or where no fleet with a share of the requests has the target variant.
        """
        if self.fleet is None:
            return None
        fleets = [self.fleet]
        if self.pending is not None and self.stage.share:
            fleets.insert(0 if random.random() < self.stage.share else 1, self.pending)  # noqa: S311
        if target is None:
            return fleets[0], fleets[0].pick()
        found = ((fleet, fleet.variant(target)) for fleet in fleets)
        return next(((fleet, variant) for fleet, variant in found if variant is not None), None)

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
                "AsyncInferenceConfig": self.config.document.get("AsyncInferenceConfig"),
                "DataCaptureConfig": capture.summary(self.config.data_capture),
            }
            if self.fleet is not None:
                replaced = self.stage if self.pending is not None and self.plan.replaces else None
                document["ProductionVariants"] = [variant.summary(replaced=replaced) for variant in self.fleet.variants]
            if self.pending is not None:
                document["PendingDeploymentSummary"] = self.pending.summary(self.stage)
            return document
