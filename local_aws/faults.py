"""Faults that tests and rehearsals ask for: calls that AWS refuses, and jobs that it fails."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from local_aws.aws_errors import AwsError


@dataclass(frozen=True)
class RefusedCalls:
    """The next `times` calls of an action are answered with this error; `action` is `service:Action`."""

    action: str
    code: str
    message: str = "Refused because a fault was asked for"
    status: int = 400
    times: int = 1


@dataclass(frozen=True)
class FailedJobs:
    """The next `times` training jobs that leave the queue end as Failed, for this reason."""

    failure_reason: str
    times: int = 1


class Faults:
    """The faults that are still to come; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[RefusedCalls] = []
        self._jobs: list[FailedJobs] = []

    def __bool__(self) -> bool:
        """Whether any call is to be refused."""
        return bool(self._calls)

    def expect(self, wanted: Mapping[str, Any]) -> None:
        """Add a fault: the fields of RefusedCalls or of FailedJobs. Raises AwsError for other fields."""
        try:
            fault = FailedJobs(**wanted) if "failure_reason" in wanted else RefusedCalls(**wanted)
        except TypeError as error:
            raise AwsError("ValidationException", f"That is no fault: {error}") from error
        with self._lock:
            if isinstance(fault, FailedJobs):
                self._jobs.append(fault)
            else:
                self._calls.append(fault)

    def check_call(self, service: str, action: str) -> None:
        """Raise the error that a call of this action is to be answered with, where there is one."""
        with self._lock:
            for place, fault in enumerate(self._calls):
                if fault.action == f"{service}:{action}":
                    self._calls[place : place + 1] = _less(fault, fault.times)
                    raise AwsError(fault.code, fault.message, fault.status)

    def reason_to_fail(self) -> str | None:
        """Return why the job that asks is to fail, None where it is not."""
        with self._lock:
            if not self._jobs:
                return None
            fault = self._jobs[0]
            self._jobs[:1] = _less(fault, fault.times)
            return fault.failure_reason


def _less(fault: Any, times: int) -> list[Any]:
    return [replace(fault, times=times - 1)] if times > 1 else []
