"""One watch of each kind of job for all triggers that reach AWS in the same way, and what a task shows of its job.

The triggers of a triggerer run in one event loop. Each of them asking AWS for itself would be a storm of Describe
calls; here they hand their job to a watch, which polls all of them together and gives each trigger what is new. A
waiting task shows the job's own lines, each epoch and each change summed up, and what the job has cost so far.

Sources: API reference of DescribeTrainingJob: `TrainingStartTime` ("you are billed for the time interval between this
time and the value of TrainingEndTime"), `BillableTimeInSeconds` (times `InstanceCount` is what is billed; under spot it
is less than the training's own time, and known only at the end), `SecondaryStatusTransitions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from include.sagemaker.api import INTERRUPTED, STALE_CREDENTIALS, Backoff, JobKind, error_code, passing_fault
from include.sagemaker.epochs import EPOCH_LINE
from include.sagemaker.job_polling import JobLogs, JobStates, LogLine, News, WatchedJob
from include.sagemaker.job_results import RuleStatus, rule_statuses
from include.sagemaker.naming import by_machine

log = logging.getLogger(__name__)

LINGER_SECONDS = 20.0
"""How long a watch outlives its last job: it stops the job of a cleared task, and the next job finds it signed in."""
MOST_RENEWALS = 5

Connect = Callable[[str], Awaitable[AbstractAsyncContextManager[Any]]]
"""Signs in to a service (`sagemaker`, `logs`) and gives its aiobotocore client."""

SHOWN = ("Train-accuracy", "Validation-accuracy", "Time cost")
"""What is shown of an epoch, by the names in the log."""
RESTART = "the spot machine was taken back: the job continues from its checkpoint as soon as it has another"
UNBILLED = frozenset(
    {"Pending", "Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Interrupted", "Restarting"}
)
"""Secondary statuses in which a job has no machine."""


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


@dataclass
class JobProgress:
    """The log of a job as it is shown: its lines, and each epoch summed up once.

    With several machines every line begins with the machine that wrote it, and the first machine's epochs are summed
    up: all of them log the same epochs, each with accuracies of its own. A machine that was started again begins a
    stream of its own, and its times are not counted from what another one wrote.
    """

    machines: int = 1
    epochs: int | None = None
    _streams: dict[str, EpochProgress] = field(default_factory=dict)

    def read(self, line: LogLine) -> tuple[str, str | None]:
        """The line as it is shown, and the summary of the epoch that it ends."""
        number, machine, _ = by_machine(line.stream)
        shown = f"[{machine}] {line.text}" if self.machines > 1 and machine else line.text
        if self.machines > 1 and number > 1:
            return shown, None
        progress = self._streams.setdefault(line.stream, EpochProgress())
        progress.epochs = self.epochs
        return shown, progress.read(line.text, line.at)


@dataclass
class EpochProgress:
    """Reads one machine's log lines of the algorithm and sums each epoch up in one line.

    The lines come in the order in which the algorithm writes them: train accuracy, time, validation accuracy.
    """

    epochs: int | None = None
    _seen: dict[str, float] = field(default_factory=dict)
    _ended: tuple[int, float] | None = None

    def read(self, line: str, at: float | None = None) -> str | None:
        """The summary of the epoch that `line` ends, None for every other line; `at` is its Unix time."""
        match = EPOCH_LINE.search(line)
        if match is None or match["name"] not in SHOWN:
            return None
        epoch, metric, value = int(match["epoch"]) + 1, match["name"], float(match["value"])
        self._seen[metric] = value
        if metric != "Validation-accuracy":
            return None
        summary = self._summary(epoch, at)
        self._ended, self._seen = (None if at is None else (epoch, at)), {}
        return summary

    def _summary(self, epoch: int, at: float | None) -> str:
        total = f" of {self.epochs}" if self.epochs else ""
        parts = [f"epoch {epoch}{total}"]
        if "Train-accuracy" in self._seen:
            parts.append(f"train accuracy {self._seen['Train-accuracy']:.4f}")
        parts.append(f"validation accuracy {self._seen['Validation-accuracy']:.4f}")
        seconds = self._seen.get("Time cost")
        if seconds is not None:
            parts.append(f"{seconds:.1f} s an epoch")
        whole = self._with_validation(epoch, at) or seconds
        if whole is not None and self.epochs and epoch < self.epochs:
            parts.append(f"about {format_duration(whole * (self.epochs - epoch))} left")
        return ", ".join(parts)

    def _with_validation(self, epoch: int, at: float | None) -> float | None:
        """Seconds from the end of the epoch before to the end of this one."""
        if self._ended is None or at is None or self._ended[0] != epoch - 1:
            return None
        return max(at - self._ended[1], self._seen.get("Time cost", 0.0))


@dataclass
class StatusProgress:
    """Reports a job's changes of status, each once: its own, its rules' of Debugger, its training jobs' if it tunes."""

    _told: set[tuple[Any, ...]] = field(default_factory=set)
    _last: str = ""
    _rules: set[RuleStatus] = field(default_factory=set)

    def read(self, description: Mapping[str, Any], status: str) -> list[str]:
        """A line for each change since the last description, in their order."""
        rules = rule_statuses(description)
        changed = [f"rule {rule}" for rule in rules if rule not in self._rules]
        self._rules = {*rules}
        return [*self._statuses(description, status), *changed]

    def _statuses(self, description: Mapping[str, Any], status: str) -> list[str]:
        transitions = description.get("SecondaryStatusTransitions")
        if transitions:
            return [line for transition in transitions if (line := self._transition(transition))]
        text = "; ".join(part for part in (status, _search_so_far(description)) if part)
        if text == self._last:
            return []
        self._last = text
        return [text]

    def _transition(self, transition: Mapping[str, Any]) -> str | None:
        status, message = str(transition["Status"]), str(transition.get("StatusMessage") or "")
        key = (status, transition.get("StartTime"), message)
        if key in self._told:
            return None
        self._told.add(key)
        return ": ".join(part for part in (status, message, RESTART if status in INTERRUPTED else "") if part)


def billable_seconds(description: Mapping[str, Any], at: float) -> float:
    """Seconds for which each machine of the job is billed at the Unix time `at`; under spot, at most."""
    if "BillableTimeInSeconds" in description:
        return float(description["BillableTimeInSeconds"])
    transitions = description.get("SecondaryStatusTransitions") or ()
    if not transitions and "TrainingStartTime" in description:
        return max(at - float(description["TrainingStartTime"].timestamp()), 0.0)
    periods = [
        (transition["StartTime"].timestamp(), _ended_or_now(transition.get("EndTime"), at))
        for transition in transitions
        if transition["Status"] not in UNBILLED
    ]
    return sum((max(end - start, 0.0) for start, end in periods), 0.0)


def billed_so_far(description: Mapping[str, Any], at: float, prices: Mapping[str, float]) -> str:
    """The billable seconds for a person: seconds, machines, and USD if the price of an hour is known."""
    resources = description.get("ResourceConfig") or {}
    machines, price = int(resources.get("InstanceCount", 1)), prices.get(resources.get("InstanceType", ""))
    seconds = billable_seconds(description, at)
    at_most = "at most " if description.get("EnableManagedSpotTraining") else ""
    each = f" on each of {machines} machines" if machines > 1 else ""
    cost = f" ({at_most}{seconds * machines * price / 3600:.2f} USD)" if price is not None else ""
    return f"{at_most if not cost else ''}{seconds:.0f} s billable so far{each}{cost}"


def format_duration(seconds: float) -> str:
    """A duration as a person says it: `95 s`, `23 min`, `5 h 10 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _search_so_far(description: Mapping[str, Any]) -> str:
    counters = description.get("TrainingJobStatusCounters")
    if not counters:
        return ""
    limits = (description.get("HyperParameterTuningJobConfig") or {}).get("ResourceLimits") or {}
    total = f" of {limits['MaxNumberOfTrainingJobs']}" if limits.get("MaxNumberOfTrainingJobs") else ""
    text = f"{counters.get('Completed', 0)}{total} jobs completed, {counters.get('InProgress', 0)} running"
    others = {
        "failed": counters.get("NonRetryableError", 0),
        "failed and started again": counters.get("RetryableError", 0),
        "stopped": counters.get("Stopped", 0),
    }
    text += "".join(f", {count} {what}" for what, count in others.items() if count)
    return "; ".join(part for part in (text, _best_so_far(description.get("BestTrainingJob") or {})) if part)


def _best_so_far(job: Mapping[str, Any]) -> str:
    metric = job.get("FinalHyperParameterTuningJobObjectiveMetric")
    if not metric:
        return ""
    tuned = ", ".join(f"{name} {value}" for name, value in sorted((job.get("TunedHyperParameters") or {}).items()))
    return f"best last epoch so far {job['TrainingJobName']}: {metric['MetricName']} {metric['Value']:.4f}" + (
        f" with {tuned}" if tuned else ""
    )


def _ended_or_now(end: datetime | None, at: float) -> float:
    return at if end is None else min(end.timestamp(), at)
