"""Waits for a SageMaker job or endpoint and shows its own log while it does; or only waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from image_classification.context import AwsAccess
from include.sagemaker.api import ACTIVE, KINDS
from include.sagemaker.job_polling import News, WatchedJob, machines_of
from include.sagemaker.job_watch import JobProgress, JobWatch, StatusProgress, billed_so_far, watch_of

TIMED_OUT = "TimedOut"
UNREACHABLE = "Unreachable"
UNKNOWN = "Unknown"


class SageMakerJobTrigger(BaseTrigger):
    """Fires once with `{"name", "status", "message"}` when the job reached a final status.

    `status` is AWS's own, or `TimedOut` (the limit passed: the job was stopped), or `Unknown` (AWS has no such
    job any more), or `Unreachable` (AWS refuses to describe the job); `message` says why. Airflow calls `on_kill` when
    a person clears the deferred task or marks it as failed or succeeded, and then the job is stopped. It does not call
    it on a timeout, which is why the limit is kept here, nor when the triggerer restarts: a new trigger waits then.
    All triggers of a process share one watch of AWS (`job_watch`).

    :param kind: what is waited for, a key of `job_kinds.KINDS`
    :param name: the job's or endpoint's name
    :param poll_seconds: seconds between two polls
    :param limit_seconds: seconds of waiting after which the job is stopped; None: only the job's own limits hold. They
        are counted by a clock that nobody sets, and begin again in another triggerer: then Airflow's own timeout of the
        deferral, which is a little longer, ends the wait
    :param access: the fields of `AwsAccess`: connection, region, verify, botocore configuration
    :param prices: USD an hour by instance type, where known
    :param deadline: not used; earlier versions stored it in the database
    """

    def __init__(
        self,
        *,
        kind: str,
        name: str,
        poll_seconds: float,
        access: Mapping[str, Any],
        limit_seconds: float | None = None,
        prices: Mapping[str, float] | None = None,
        deadline: float | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = KINDS[kind]
        self.name = name
        self.poll_seconds = poll_seconds
        self.limit_seconds = limit_seconds
        self.access = AwsAccess(**access)
        self.prices = dict(prices or {})
        self.status_progress = StatusProgress()
        self.job_progress = JobProgress()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that make an equal trigger in the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "kind": self.kind.action,
                "name": self.name,
                "poll_seconds": self.poll_seconds,
                "limit_seconds": self.limit_seconds,
                "access": self.access.as_fields(),
                "prices": self.prices,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until the job is final or the limit has passed."""
        watch = watch_of(self.kind, self.access.as_text(), self.access.connect)
        with watch.waiting_for(self.name, self.poll_seconds) as job:
            event = await self._final_event(watch, job)
        yield event

    async def on_kill(self) -> None:
        """Stop the job: its task was cleared or marked by a person."""
        await self._stop(watch_of(self.kind, self.access.as_text(), self.access.connect))

    async def _final_event(self, watch: JobWatch, job: WatchedJob) -> TriggerEvent:
        try:
            async with asyncio.timeout(self.limit_seconds) as limit:
                return await self._last_news(job)
        except TimeoutError:
            if not limit.expired():
                raise
            await self._stop(watch)
            return self._event(TIMED_OUT)

    async def _last_news(self, job: WatchedJob) -> TriggerEvent:
        while True:
            news = await job.next_news()
            if isinstance(news.answer, Exception):
                return self._event(_kind_of_refusal(news.answer), str(news.answer))
            self._show(news, job.description or {})
            if news.answer is not None and self.kind.status(news.answer) not in ACTIVE:
                return self._event(self.kind.status(news.answer), news.answer.get("FailureReason", ""))

    def _show(self, news: News, description: Mapping[str, Any]) -> None:
        for notice in news.notices:
            self.log.warning("%s", notice)
        if isinstance(news.answer, Mapping):
            for change in self.status_progress.read(news.answer, self.kind.status(news.answer)):
                self.log.info("%s %s: %s", self.kind.noun.capitalize(), self.name, change)
            epochs = (news.answer.get("HyperParameters") or {}).get("epochs", "")
            self.job_progress.epochs = int(epochs) if epochs.isdigit() else None
        self.job_progress.machines = machines_of(description)
        for line in news.lines:
            shown, summary = self.job_progress.read(line)
            self.log.info("%s", shown)
            if summary:
                self.log.info("==> %s, %s", summary, billed_so_far(description, line.at, self.prices))

    async def _stop(self, watch: JobWatch) -> None:
        if self.kind.listed:
            try:
                await watch.stop(self.name)
                self.log.info("Stopped %s %s.", self.kind.noun, self.name)
            except Exception as error:  # noqa: BLE001  (whatever it is, the task is over: say that the job continues)
                self.log.warning("%s %s could not be stopped: %s", self.kind.noun.capitalize(), self.name, error)
        else:
            self.log.warning("An %s cannot be stopped while it changes: %s keeps running.", self.kind.noun, self.name)

    def _event(self, status: str, message: str = "") -> TriggerEvent:
        return TriggerEvent({"name": self.name, "status": status, "message": message})


class PauseTrigger(BaseTrigger):
    """Fires once, after this many seconds by a clock that nobody sets; they begin again in another triggerer."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the argument that make an equal trigger in the triggerer."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait."""
        await asyncio.sleep(self.seconds)
        yield TriggerEvent({"seconds": self.seconds})


def _kind_of_refusal(error: Exception) -> str:
    from botocore.exceptions import ClientError

    from include.sagemaker.api import is_absent

    return UNKNOWN if isinstance(error, ClientError) and is_absent(error) else UNREACHABLE
