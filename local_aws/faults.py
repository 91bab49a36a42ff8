"""Faults that tests and rehearsals ask for: calls that AWS refuses, and jobs that it fails."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from local_aws.aws_errors import AwsError, validation_error


class Fault(BaseModel):
    """What happens the next `times` times."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    times: int = Field(default=1, ge=1, le=1_000_000)


class RefusedCalls(Fault):
    """Calls of an action are answered with this error; `action` is `service:Action`."""

    action: str = Field(pattern=r"^[a-z0-9.-]+:[A-Za-z0-9]+$")
    code: str = Field(pattern=r"^[A-Za-z0-9.]{1,100}$")
    message: str = "Refused because a fault was asked for"
    status: int = Field(default=400, ge=400, le=599)


class FailedJobs(Fault):
    """Training jobs that leave the queue end as Failed, for this reason."""

    failure_reason: str = Field(min_length=1)


F = TypeVar("F", bound=Fault)


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
            kind = FailedJobs if "failure_reason" in wanted else RefusedCalls
            fault = kind.model_validate(wanted)
        except ValidationError as error:
            raise validation_error(f"That is not a fault: {'; '.join(map(_problem, error.errors()))}") from error
        with self._lock:
            if isinstance(fault, FailedJobs):
                self._jobs.append(fault)
            else:
                self._calls.append(fault)

    def forget(self) -> None:
        """Drop every fault that is still to come."""
        with self._lock:
            self._calls.clear()
            self._jobs.clear()

    def check_call(self, service: str, action: str) -> None:
        """Raise the error that a call of this action is to be answered with, where there is one."""
        with self._lock:
            for place, fault in enumerate(self._calls):
                if fault.action == f"{service}:{action}":
                    self._calls[place : place + 1] = _less(fault, fault.times)
                    raise AwsError(fault.code, fault.message, fault.status)

    def reason_to_fail(self) -> str | None:
        """Why the job that asks is to fail, None if it is not."""
        with self._lock:
            if not self._jobs:
                return None
            fault = self._jobs[0]
            self._jobs[:1] = _less(fault, fault.times)
            return fault.failure_reason


def _problem(error: ErrorDetails) -> str:
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}, not {str(error['input'])[:100]!r}"


def _less(fault: F, times: int) -> list[F]:
    return [fault.model_copy(update={"times": times - 1})] if times > 1 else []
