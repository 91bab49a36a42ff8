"""SageMaker and CloudWatch Logs as aiobotocore's clients show them, with a count of calls and faults at will."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from image_classification.context import AwsAccess
from image_classification.triggers.job import SageMakerJobTrigger

MISSING = "Requested resource not found."


def refusal(code: str, message: str = "no", status: int = 400) -> ClientError:
    """The error of an answer with this code."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "X"
    )


@dataclass
class FaultyAws:
    """Training jobs by name; `faults` are raised by the next calls of an action, one a call."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, list[Exception | None]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 100
    sign_ins: int = 0

    def start(self, *names: str, stage: str = "Training") -> None:
        """Let jobs run."""
        for name in names:
            self.jobs[name] = {
                "TrainingJobName": name,
                "TrainingJobStatus": "InProgress",
                "SecondaryStatus": stage,
                "CreationTime": datetime.now(UTC),
                "LastModifiedTime": datetime.now(UTC),
                "HyperParameters": {"epochs": "2"},
            }

    def move(self, name: str, stage: str, status: str = "InProgress") -> None:
        """Change the status of a job."""
        moved = {"SecondaryStatus": stage, "TrainingJobStatus": status, "LastModifiedTime": datetime.now(UTC)}
        self.jobs[name] = {**self.jobs[name], **moved}

    def write(self, job: str, line: str, machine: str = "algo-1") -> None:
        """Add a line to a job's log."""
        stamp = int(datetime.now(UTC).timestamp() * 1000)
        event = {"logStreamName": f"{job}/{machine}", "eventId": str(len(self.events)), "timestamp": stamp}
        self.events.append({**event, "message": f"{line}\n"})

    async def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        self._called("describe")
        if TrainingJobName not in self.jobs:
            raise refusal("ValidationException", MISSING)
        return dict(self.jobs[TrainingJobName])

    async def list_training_jobs(self, **asked: Any) -> dict[str, Any]:
        self._called("list", asked)
        running = [job for job in self.jobs.values() if job["TrainingJobStatus"] == asked["StatusEquals"]]
        start = int(asked.get("NextToken", 0))
        page: dict[str, Any] = {"TrainingJobSummaries": running[start : start + self.page_size]}
        if start + self.page_size < len(running):
            page["NextToken"] = str(start + self.page_size)
        return page

    async def stop_training_job(self, TrainingJobName: str) -> None:
        self._called("stop")
        self.move(TrainingJobName, "Stopped", "Stopped")

    async def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        self._called("logs", asked)
        names, prefix = asked.get("logStreamNames"), asked.get("logStreamNamePrefix", "")
        found = [
            event
            for event in self.events
            if event["timestamp"] >= asked["startTime"]
            and (event["logStreamName"] in names if names else event["logStreamName"].startswith(prefix))
        ]
        start = int(asked.get("nextToken", 0))
        page: dict[str, Any] = {"events": found[start : start + self.page_size]}
        if start + self.page_size < len(found):
            page["nextToken"] = str(start + self.page_size)
        return page

    def fail_next(self, action: str, *errors: Exception | None) -> None:
        """Let the next calls of describe, list, logs or stop fail; None stands for one that does not."""
        self.faults.setdefault(action, []).extend(errors)

    def _called(self, action: str, asked: dict[str, Any] | None = None) -> None:
        self.calls[action] += 1
        self.asked.append({"action": action, **(asked or {})})
        error = self.faults[action].pop(0) if self.faults.get(action) else None
        if error is not None:
            raise error


class Hook:
    """What AwsBaseHook does for triggers."""

    def __init__(self, aws: FaultyAws) -> None:
        self._aws = aws

    async def get_async_conn(self) -> Any:
        self._aws.sign_ins += 1
        return self._client()

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[FaultyAws]:
        yield self._aws


def waiting(name: str, poll_seconds: float = 0.02, **more: Any) -> SageMakerJobTrigger:
    """A trigger that waits for a training job, as the triggerer runs it."""
    access = AwsAccess(region_name="us-east-1").as_fields()
    trigger = SageMakerJobTrigger(kind="training_job", name=name, poll_seconds=poll_seconds, access=access, **more)
    trigger._log = logging.getLogger(f"task.{name}")  # type: ignore[assignment]
    return trigger


async def event_of(trigger: SageMakerJobTrigger) -> dict[str, Any]:
    """The payload with which a trigger fires."""
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger did not fire")
