"""One watch of each kind of job for all triggers of a process that reach AWS in the same way.

The triggers of a triggerer run in one event loop. Each of them asking AWS for itself would be a storm of Describe
calls; here they hand their job to a watch, which polls all of them together and gives each trigger what is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from include.sagemaker.answers import STALE_CREDENTIALS, Backoff, error_code, passing_fault
from include.sagemaker.job_kinds import JobKind
from include.sagemaker.job_polling import JobLogs, JobStates, News, WatchedJob

log = logging.getLogger(__name__)

LINGER_SECONDS = 20.0
"""How long a watch outlives its last job: it stops the job of a cleared task, and the next job finds it signed in."""
MOST_RENEWALS = 5

Connect = Callable[[str], Awaitable[AbstractAsyncContextManager[Any]]]
"""Signs in to a service (`sagemaker`, `logs`) and gives its aiobotocore client."""


class StaleCredentialsError(Exception):
    """AWS no longer knows the credentials: sign in again."""


@dataclass
class Connection:
    """What a watch asks."""

    sagemaker: Any
    states: JobStates
    logs: JobLogs | None


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], JobWatch]] = WeakKeyDictionary()


def watch_of(kind: JobKind, access: str, connect: Connect) -> JobWatch:
    """The running loop's watch of this kind; starts one with `connect` if there is none.

    `access` is the same text for all callers that `connect` to AWS in the same way.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    key = (kind.action, access)
    if key not in watches or watches[key].has_ended:
        watches[key] = JobWatch(kind, connect)
    return watches[key]


class JobWatch:
    """Polls all its jobs at the pace of the most impatient trigger; ends when it has had no job for a while.

    Whatever ends it, a fault of its own included, reaches every trigger that waits.
    """

    def __init__(self, kind: JobKind, connect: Connect) -> None:
        self.kind = kind
        self._connect = connect
        self._jobs: list[WatchedJob] = []
        self._added: list[WatchedJob] = []
        self._changed = asyncio.Event()
        self._backoff = Backoff()
        self._renewals = 0
        self._connected: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._is_over = False
        # A context of its own: what the watch logs belongs to no task.
        self._task = asyncio.create_task(self._run(), name=f"watch of {kind.noun}s", context=contextvars.Context())

    @property
    def has_ended(self) -> bool:
        """Whether it polls nothing any more."""
        return self._is_over or self._task.done()

    @contextlib.contextmanager
    def waiting_for(self, name: str, poll_seconds: float) -> Iterator[WatchedJob]:
        """Look at a job as long as the block runs."""
        job = WatchedJob(self.kind, name, poll_seconds)
        self._jobs.append(job)
        self._added.append(job)
        self._changed.set()
        try:
            yield job
        finally:
            self._jobs.remove(job)
            self._changed.set()

    async def stop(self, name: str) -> None:
        """Tell AWS to stop a job. Raises botocore's errors, and what keeps the watch from reaching AWS."""
        connection = await asyncio.shield(self._connected)
        await getattr(connection.sagemaker, self.kind.stop)(**self.kind.named(name))

    async def _run(self) -> None:
        ended: Exception = RuntimeError(f"The watch of {self.kind.noun}s was ended with the triggerer.")
        try:
            is_stale = True
            while is_stale:
                is_stale = await self._signed_in()
        except Exception as error:
            log.exception("The watch of %ss failed.", self.kind.noun)
            ended = error
        finally:
            self._is_over = True
            if not self._connected.done():
                self._connected.set_exception(ended)
                self._connected.exception()  # maybe no trigger waits for it
            for job in self._jobs:
                job.tell(ended)

    async def _signed_in(self) -> bool:
        """Poll until there is no job left; True if the credentials have to be fetched again."""
        async with AsyncExitStack() as stack:
            sagemaker = await stack.enter_async_context(await self._connect("sagemaker"))
            logs = None
            if self.kind.log_group:
                client = await stack.enter_async_context(await self._connect("logs"))
                logs = JobLogs(client, self.kind.log_group)
            connection = Connection(sagemaker, JobStates(sagemaker, self.kind), logs)
            self._connected.set_result(connection)
            try:
                await self._watch(connection)
            except StaleCredentialsError as error:
                self._connected = asyncio.get_running_loop().create_future()
                self._renewals += 1
                if self._renewals > MOST_RENEWALS:
                    raise
                log.warning("Signing in to AWS again: %s", error)
                await asyncio.sleep(self._backoff.wait(1))
                return True
        return False

    async def _watch(self, connection: Connection) -> None:
        """Look at what was added at once, and at everything at the pace; return after a while without a job."""
        next_look = time.monotonic()
        while True:
            self._changed.clear()
            added, self._added = [job for job in self._added if job in self._jobs], []
            is_due = time.monotonic() >= next_look
            await self._look(connection, list(self._jobs) if is_due else added)
            if is_due and self._jobs:
                next_look = time.monotonic() + self._backoff.wait(min(job.poll_seconds for job in self._jobs))
            if self._jobs:
                await self._changed_before(next_look)
            elif not await self._changed_before(time.monotonic() + LINGER_SECONDS) and not self._jobs:
                self._is_over = True
                return

    async def _changed_before(self, moment: float) -> bool:
        """Wait until that moment, or until a job comes or goes, and return whether one did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(moment - time.monotonic(), 0)):
                await self._changed.wait()
        return self._changed.is_set()

    async def _look(self, connection: Connection, jobs: Sequence[WatchedJob]) -> None:
        """Tell each of these jobs what is new of it. Raises StaleCredentialsError, and what no later look can mend."""
        answers: dict[WatchedJob, Mapping[str, Any] | Exception] = {}
        fault = None
        try:
            async for job, answer in connection.states.changed(jobs):
                answers[job] = answer
                job.described(answer)
            self._backoff.failures = self._renewals = 0
        except Exception as error:
            fault = passing_fault(error)
            if fault is None:
                raise
            self._backoff.failures += 1
            if error_code(error) in STALE_CREDENTIALS:
                raise StaleCredentialsError(fault) from error
        unread = await self._read_logs(connection.logs, jobs)
        for job in jobs:
            notices = []
            if fault and job not in answers:
                notices.append(f"AWS could not describe {self.kind.noun} {job.name} just now ({fault}): asking again.")
            if reason := job.log_read(unread):
                notices.append(f"The log of {self.kind.noun} {job.name} could not be read: {reason}")
            job.tell(News(answers.get(job), job.take_lines(), notices))

    async def _read_logs(self, logs: JobLogs | None, jobs: Sequence[WatchedJob]) -> str | None:
        """Read the new lines of these jobs; returns why some could not be read."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - DAG files load this module

        writing = [job.log for job in jobs if job.log is not None and job.writes_log]
        if logs is None or not writing:
            return None
        try:
            await logs.read(writing)
        except (ClientError, BotoCoreError) as error:
            return str(error)
        return None
