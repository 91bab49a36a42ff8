"""How an update moves the traffic of an endpoint: in which steps, with which waits, and what ends it early.

Sources: docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html and the pages below it,
.../dg/automating-sagemaker-with-eventbridge.html (the messages of the stages).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_aws.account import Aws
from local_aws.aws_errors import validation_error
from local_aws.sagemaker.core.resource_table import now

WATCH_INTERVAL_SECONDS = 0.5
"""How often alarms are read while a step waits."""
WHOLE = 1.0


class RollBackError(Exception):
    """An update that must be undone; the message is the endpoint's FailureReason."""


class CancelledError(Exception):
    """An update that is given up: its endpoint is deleted, or the server ends."""


@dataclass(frozen=True)
class Plan:
    """What a DeploymentConfig asks for: `shares` is the part of the traffic that the new fleet has after each step."""

    shares: tuple[float, ...] = (WHOLE,)
    wait: float = 0.0
    termination_wait: float = 0.0
    timeout: float = math.inf
    alarms: tuple[str, ...] = ()
    kind: str = "ALL_AT_ONCE"

    @classmethod
    def of(cls, config: Mapping[str, Any], instances: int) -> Plan:
        """The plan for a fleet of `instances`, of a config that `rules.check_deployment` has passed."""
        rolling, blue_green = config.get("RollingUpdatePolicy"), config.get("BlueGreenUpdatePolicy") or {}
        policy = rolling or blue_green
        routing = rolling or blue_green.get("TrafficRoutingConfiguration") or {}
        kind = "ROLLING" if rolling else routing.get("Type", "ALL_AT_ONCE")
        size = routing.get({"ROLLING": "MaximumBatchSize", "CANARY": "CanarySize"}.get(kind, "LinearStepSize"))
        step = WHOLE if size is None else _share(size, instances)
        return cls(
            shares=(step, WHOLE) if kind == "CANARY" and step < WHOLE else _steps(step),
            wait=routing.get("WaitIntervalInSeconds", 0),
            termination_wait=policy.get("TerminationWaitInSeconds", 0),
            timeout=policy.get("MaximumExecutionTimeoutInSeconds", math.inf),
            alarms=tuple(
                alarm["AlarmName"] for alarm in (config.get("AutoRollbackConfiguration") or {}).get("Alarms", ())
            ),
            kind=kind,
        )

    def check(self) -> None:
        """Raise ValidationException for waits that are longer than the whole deployment may take."""
        seconds = self.wait * len(self.shares) + self.termination_wait
        if seconds >= self.timeout:
            raise validation_error(
                f"MaximumExecutionTimeoutInSeconds ({self.timeout:g}) must be larger than the total waiting time: "
                f"WaitIntervalInSeconds ({self.wait:g}) after each of {len(self.shares)} steps and "
                f"TerminationWaitInSeconds ({self.termination_wait:g}) are {seconds:g} seconds."
            )

    @property
    def replaces(self) -> bool:
        """Whether the old fleet gives up its capacity with each step, as in a rolling update."""
        return self.kind == "ROLLING"


def _share(size: Mapping[str, Any], instances: int) -> float:
    value: int = size["Value"]
    return min(WHOLE, value / 100 if size["Type"] == "CAPACITY_PERCENT" else value / max(1, instances))


def _steps(step: float) -> tuple[float, ...]:
    """Equal steps up to the whole; the last one may be smaller."""
    count = math.ceil(round(WHOLE / step, 6))
    return (*(step * number for number in range(1, count)), WHOLE)


@dataclass(frozen=True)
class Stage:
    """What an update does now: a status of VariantStatus, and the message with the number of `{active}` instances."""

    status: str
    message: str
    share: float = 0.0
    begin: datetime = field(default_factory=now)

    def describe(self, instances: int) -> dict[str, Any]:
        """The member of VariantStatus for a variant of this many instances."""
        message = self.message.format(active=self.active(instances), instances=instances)
        return {"Status": self.status, "StatusMessage": message, "StartTime": self.begin}

    def active(self, instances: int) -> int:
        """How many of the instances have traffic."""
        return math.ceil(round(self.share * instances, 6))


CREATING = "Launching {instances} instance(s)."
DELETING = "Terminating {instances} instance(s)."


def capacity(plan: Plan, share: float) -> str:
    """The words for the capacity that has traffic."""
    if share >= WHOLE:
        return "full capacity of {active} instance(s)"
    return f"{'canary ' if plan.kind == 'CANARY' else ''}capacity of {{active}} instance(s)"


class Watch:
    """Waits between the steps of one update, and ends it when an alarm goes off or its time is over.

    `in_alarm` gives the reason to undo the update, if there is one; `cancelled` is set when the update is given up.
    """

    def __init__(
        self,
        plan: Plan,
        in_alarm: Callable[[], str | None],
        cancelled: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._in_alarm = in_alarm
        self._cancelled = cancelled
        self._clock = clock
        self._deadline = clock() + plan.timeout

    def hold(self, seconds: float) -> None:
        """Wait, and look at the alarms until the wait is over and once more then.

        Raises RollBackError with the reason, CancelledError when the update is given up.
        """
        end = self._clock() + seconds
        while True:
            left = end - self._clock()
            if self._cancelled.wait(max(0.0, min(left, WATCH_INTERVAL_SECONDS))):
                raise CancelledError
            if self._clock() > self._deadline:
                raise RollBackError(
                    f"The deployment did not finish within MaximumExecutionTimeoutInSeconds ({self._plan.timeout:g}) "
                    "and was rolled back."
                )
            reason = self._in_alarm()
            if reason is not None:
                raise RollBackError(reason)
            if self._clock() >= end:
                return


class Alarms:
    """The CloudWatch alarms an update is watched by, after all metrics that were taken before have arrived."""

    def __init__(self, aws: Aws, names: Sequence[str]) -> None:
        self._aws = aws
        self._names = names

    def check(self) -> None:
        """Raise ValidationException for alarms that do not exist."""
        missing = sorted(set(self._names) - set(self._states()))
        if missing:
            raise validation_error(f"AutoRollbackConfiguration names alarms that do not exist: {', '.join(missing)}.")

    def reason(self) -> str | None:
        """Why the update must be undone, None where it may continue."""
        if not self._names:
            return None
        self._aws.metrics.flush()
        states = self._states()
        for name in self._names:
            if name not in states:
                return f"The CloudWatch alarm {name} does not exist any more. The deployment was rolled back."
            if states[name] == "ALARM":
                return f"The CloudWatch alarm {name} is in the ALARM state. The deployment was rolled back."
        return None

    def _states(self) -> dict[str, str]:
        """The states of those that exist."""
        if not self._names:
            return {}
        found = self._aws.cloudwatch.describe_alarms(
            AlarmNames=list(self._names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        alarms = [*found["MetricAlarms"], *found["CompositeAlarms"]]
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms}
