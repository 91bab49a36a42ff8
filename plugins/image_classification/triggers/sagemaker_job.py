"""Waits for a SageMaker job or endpoint and shows its own log while it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from image_classification.aws import AwsAccess
from image_classification.job_kinds import ACTIVE, KINDS
from image_classification.triggers.backoff import Backoff
from image_classification.triggers.job_log import JobLogTail
from image_classification.triggers.progress import EpochProgress, StatusProgress

TIMED_OUT = "TimedOut"
UNREACHABLE = "Unreachable"


class SageMakerJobTrigger(BaseTrigger):
    """Fires once with `{"name", "status", "message"}` when the job reached a final status.

    `status` is AWS's own, or `TimedOut` (the deadline passed: the job was told to stop), or `Unreachable` (AWS
    refuses to describe the job; `message` says why). Airflow calls `on_kill` when a person clears the deferred task
    or marks it as failed or succeeded, and then the job is stopped; it does so neither on a timeout, which is why
    the deadline is kept here, nor when the triggerer restarts, after which a new trigger goes on waiting.

    :param kind: what is waited for, a key of `job_kinds.KINDS`
    :param name: the job's or endpoint's name
    :param poll_seconds: pace of the first looks; it slows down with time
    :param deadline: Unix time after which the job is stopped; None: only the job's own limits hold
    :param access: the fields of `AwsAccess`: connection, region, verify, botocore configuration
    """

    def __init__(
        self,
        *,
        kind: str,
        name: str,
        poll_seconds: float,
        access: Mapping[str, Any],
        deadline: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = KINDS[kind]
        self.name = name
        self.poll_seconds = poll_seconds
        self.deadline = deadline
        self.access = AwsAccess(**access)
        self.status_progress = StatusProgress()
        self.epoch_progress = EpochProgress()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that make an equal trigger in the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "kind": self.kind.action,
                "name": self.name,
                "poll_seconds": self.poll_seconds,
                "deadline": self.deadline,
                "access": self.access.as_fields(),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the job until it is final or the deadline has passed."""
        async with AsyncExitStack() as stack:
            sagemaker = await stack.enter_async_context(await self.access.hook("sagemaker").get_async_conn())
            tail = None
            if self.kind.log_group:
                logs = await stack.enter_async_context(await self.access.hook("logs").get_async_conn())
                tail = JobLogTail(logs, self.kind.log_group, self.name)
            yield await self._final_event(sagemaker, tail)

    async def on_kill(self) -> None:
        """Stop the job: its task was cleared or marked by a person."""
        async with await self.access.hook("sagemaker").get_async_conn() as sagemaker:
            await self._stop(sagemaker)

    async def _final_event(self, sagemaker: Any, tail: JobLogTail | None) -> TriggerEvent:
        from botocore.exceptions import ClientError

        backoff, started = Backoff(self.poll_seconds), time.monotonic()
        while True:
            try:
                description = await self._describe(sagemaker, backoff)
            except ClientError as error:
                return self._event(UNREACHABLE, str(error))
            if description is not None:
                status = self.kind.status(description)
                await self._show(description, status, tail)
                if status not in ACTIVE:
                    return self._event(status, description.get("FailureReason", ""))
            if self.deadline is not None and time.time() > self.deadline:
                await self._stop(sagemaker)
                return self._event(TIMED_OUT)
            wait = backoff.wait(time.monotonic() - started)
            if self.deadline is not None:
                wait = min(wait, max(self.deadline - time.time(), 0) + 0.1)
            await asyncio.sleep(wait)

    async def _describe(self, sagemaker: Any, backoff: Backoff) -> Mapping[str, Any] | None:
        """The description; None when AWS cannot answer just now. Raises ClientError when it never will."""
        from airflow.providers.amazon.aws.utils.waiter_with_logging import RETRIABLE_ERROR_CODES
        from botocore import exceptions

        try:
            description: Mapping[str, Any] = await getattr(sagemaker, self.kind.describe)(**self.kind.named(self.name))
        except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
            reason = str(error)
        except exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in RETRIABLE_ERROR_CODES:
                raise
            reason = error.response["Error"]["Code"]
        else:
            backoff.throttled = 0
            return description
        backoff.throttled = min(backoff.throttled + 1, 6)
        self.log.warning("AWS could not describe %s %s just now (%s): asking again.", self.kind.noun, self.name, reason)
        return None

    async def _show(self, description: Mapping[str, Any], status: str, tail: JobLogTail | None) -> None:
        changed = self.status_progress.read(description, status)
        if changed:
            self.log.info("%s %s: %s", self.kind.noun.capitalize(), self.name, changed)
        if tail is None:
            return
        epochs = description.get("HyperParameters", {}).get("epochs", "")
        self.epoch_progress.epochs = int(epochs) if epochs.isdigit() else None
        resources = description.get("ResourceConfig") or description.get("TransformResources") or {}
        tail.machines = resources.get("InstanceCount", 1)
        for line in await self._log_lines(tail):
            self.log.info("%s", line)
            summary = self.epoch_progress.read(line)
            if summary:
                self.log.info("==> %s", summary)

    async def _log_lines(self, tail: JobLogTail) -> list[str]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await tail.new_lines()
        except (ClientError, BotoCoreError) as error:
            self.log.warning("The log of %s could not be read just now: %s", self.name, error)
            return []

    async def _stop(self, sagemaker: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        stop = getattr(sagemaker, self.kind.stop, None)
        if stop is None:
            self.log.warning("An %s cannot be stopped while it changes: %s goes on.", self.kind.noun, self.name)
            return
        try:
            await stop(**self.kind.named(self.name))
            self.log.info("Stopped %s %s.", self.kind.noun, self.name)
        except (ClientError, BotoCoreError) as error:
            self.log.warning("%s %s could not be stopped: %s", self.kind.noun.capitalize(), self.name, error)

    def _event(self, status: str, message: str = "") -> TriggerEvent:
        return TriggerEvent({"name": self.name, "status": status, "message": message})
