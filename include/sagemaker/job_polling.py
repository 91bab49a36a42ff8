"""What is new of the jobs that are waited for: their descriptions and the lines of their logs, with few calls.

Descriptions: one List call shows which of many jobs have changed, and only those are described.
Logs: GetLogEvents reads one stream a call. FilterLogEvents reads up to a hundred, which is why it is used here although
AWS allows fewer of it a second (5 to 10 an account and region, of GetLogEvents 10 to 25): fifty jobs cost one call.

Sources: API reference of ListTrainingJobs, ListHyperParameterTuningJobs, ListTransformJobs (`StatusEquals`,
`CreationTimeAfter`, at most 100 summaries per page), FilterLogEvents (100 stream names, 10,000 events or 1 MB per page,
a page may be empty); "CloudWatch Logs quotas".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from include.sagemaker.api import ACTIVE, BEFORE_THE_CONTAINER, INTERRUPTED, JobKind, passing_fault, time_at_aws

log = logging.getLogger(__name__)

STREAMS_AT_ONCE = 100
PAGES_AT_ONCE = 20
OVERLAP_MS = 120_000
"""How late a line may become visible: what was read is read again for so long, by the clock of AWS."""
CLOCKS_DIFFER_MS = 60_000
DESCRIBE_AGAIN_SECONDS = 600.0
"""A job that the List calls say nothing new about is described that often nevertheless."""
TELLING = ("SecondaryStatus", "TrainingJobStatusCounters", "ObjectiveStatusCounters", "LastModifiedTime")
"""Fields of a List action's summary that differ from the description when there is something new to describe."""


@dataclass(frozen=True)
class News:
    """What one poll found out about one job.

    `answer` is its description if it may have changed, or the error that AWS will always answer with; `notices` say
    what could not be asked.
    """

    answer: Mapping[str, Any] | Exception | None = None
    lines: Sequence[LogLine] = ()
    notices: Sequence[str] = ()


@dataclass(eq=False)
class WatchedJob:
    """One job, its last description and its log."""

    kind: JobKind
    name: str
    poll_seconds: float
    description: Mapping[str, Any] | None = None
    described_at: float = 0.0
    log: JobLog | None = None
    unread: str | None = None
    _news: asyncio.Queue[News | Exception] = field(default_factory=asyncio.Queue)

    @property
    def writes_log(self) -> bool:
        """Whether there may be lines that were not read: its container runs, or has ended."""
        return bool(self.description) and _stage(self.description) not in BEFORE_THE_CONTAINER

    def described(self, answer: Mapping[str, Any] | Exception) -> None:
        """Take note of what AWS answered."""
        if isinstance(answer, Exception):
            return
        before, self.description = self.description, answer
        if not self.kind.log_group:
            return
        if self.log is None:
            created = int(answer["CreationTime"].timestamp() * 1000)
            self.log = JobLog(self.name, created - CLOCKS_DIFFER_MS, machines_of(answer))
        was_running = before is not None and _stage(before) not in BEFORE_THE_CONTAINER
        is_restarted = was_running and _stage(answer) in BEFORE_THE_CONTAINER | INTERRUPTED
        if is_restarted or self.kind.status(answer) not in ACTIVE:
            self.log.look_for_new_streams()

    def log_read(self, reason: str | None) -> str | None:
        """Take note of why the log could not be read, None if it was; returns the reason if it is a new one."""
        before, self.unread = self.unread, reason
        return reason if reason != before else None

    def take_lines(self) -> Sequence[LogLine]:
        """The lines that were read since the last call."""
        return self.log.take_lines() if self.log else ()

    def tell(self, news: News | Exception) -> None:
        """Pass on what a poll found, or what ended the watch."""
        if isinstance(news, Exception) or news.answer is not None or news.lines or news.notices:
            self._news.put_nowait(news)

    async def next_news(self) -> News:
        """Wait for news. Raises what ended the watch."""
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        return news


class LogLine(NamedTuple):
    """One line; `at` is its Unix time in seconds, `stream` the part of its stream's name after the job's."""

    at: float
    text: str
    stream: str = ""


@dataclass(eq=False)
class JobLog:
    """The log of one job: streams `JOB/...`, one a machine, and others after a spot job has moved to another machine.

    :param job: the job's name
    :param since_ms: Unix time before which the job wrote nothing
    :param machines: how many streams to expect
    """

    job: str
    since_ms: int = 0
    machines: int = 1
    streams: dict[str, _Stream] = field(default_factory=dict)
    lines: list[LogLine] = field(default_factory=list)
    _left: set[str] = field(default_factory=set)

    @property
    def is_found(self) -> bool:
        """Whether all streams are known, so that they can be read together with those of other jobs."""
        return len(self.streams.keys() - self._left) >= self.machines

    def look_for_new_streams(self) -> None:
        """Expect streams of other machines: the job is restarted."""
        self._left = set(self.streams)

    def forget_streams(self) -> None:
        """Find the streams again: one is gone. The newest lines are shown twice."""
        self.since_ms = min((stream.floor for stream in self.streams.values()), default=self.since_ms)
        self.streams.clear()
        self._left.clear()

    def take(self, event: Mapping[str, Any]) -> None:
        """Keep the line of an event that was not taken before."""
        if self.streams.setdefault(event["logStreamName"], _Stream()).take(event):
            stream = event["logStreamName"].removeprefix(f"{self.job}/")
            self.lines.append(LogLine(event["timestamp"] / 1000, event["message"].rstrip("\n"), stream))

    def take_lines(self) -> list[LogLine]:
        """The lines that were read since the last call, in the order of their time."""
        lines, self.lines = self.lines, []
        return lines


@dataclass
class _Stream:
    """What is known of one machine's stream: lines before `floor` (ms) are done, of later ones those in `seen`."""

    floor: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> bool:
        """Whether an event is new."""
        if event["timestamp"] < self.floor or event["eventId"] in self.seen:
            return False
        self.seen[event["eventId"]] = event["timestamp"]
        return True

    def read_until(self, moment: int) -> None:
        """Forget what is older than what will be asked for from now on."""
        if moment > self.floor:
            self.floor = moment
            self.seen = {event: at for event, at in self.seen.items() if at >= moment}


class JobStates:
    """Describes the jobs of one kind that have changed since they were last described.

    One job alone is described at every look. Several are listed: a List call with the status InProgress names all jobs
    that run; one that is missing there, or whose summary has changed, is described. Where the account runs so many
    other jobs that the list has more pages than there are jobs to poll, and if the role may not list, each job
    is described.
    """

    def __init__(self, sagemaker: Any, kind: JobKind) -> None:
        self._sagemaker = sagemaker
        self._kind = kind
        self._may_list = kind.listed
        self._pages = 1

    async def changed(
        self, jobs: Sequence[WatchedJob]
    ) -> AsyncIterator[tuple[WatchedJob, Mapping[str, Any] | Exception]]:
        """Each job that may have changed, with its description, or with the error that AWS will always answer.

        Raises botocore's errors that pass: ask again later.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415 - DAG files load this module

        for job in await self._candidates(jobs):
            answer: Mapping[str, Any] | Exception
            try:
                answer = await getattr(self._sagemaker, self._kind.describe)(**self._kind.named(job.name))
                job.described_at = time.monotonic()
            except ClientError as error:
                if passing_fault(error):
                    raise
                answer = error
            yield job, answer

    async def _candidates(self, jobs: Sequence[WatchedJob]) -> list[WatchedJob]:
        known = [job for job in jobs if job.description is not None]
        if not self._may_list or len(known) <= self._pages:
            return list(jobs)
        running = await self._running(known)
        if running is None:
            return list(jobs)
        return [job for job in jobs if job.description is None or self._may_have_changed(job, running.get(job.name))]

    def _may_have_changed(self, job: WatchedJob, summary: Mapping[str, Any] | None) -> bool:
        if summary is None or time.monotonic() - job.described_at > DESCRIBE_AGAIN_SECONDS:
            return True
        described = job.description or {}
        return any(summary[name] != described[name] for name in TELLING if name in summary and name in described)

    async def _running(self, jobs: Sequence[WatchedJob]) -> dict[str, Mapping[str, Any]] | None:
        """Summaries of all jobs that run, by name; None if the role may not list them."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - DAG files load this module

        oldest = min(job.description["CreationTime"] for job in jobs if job.description)
        asked = {"StatusEquals": "InProgress", "CreationTimeAfter": oldest - timedelta(seconds=1), "MaxResults": 100}
        summaries: dict[str, Mapping[str, Any]] = {}
        pages = 0
        token: dict[str, str] = {}
        try:
            while pages == 0 or token:
                page = await getattr(self._sagemaker, self._kind.list)(**asked, **token)
                summaries |= {summary[self._kind.name_field]: summary for summary in page[self._kind.summaries]}
                pages += 1
                token = {"NextToken": page["NextToken"]} if page.get("NextToken") else {}
        except ClientError as error:
            if passing_fault(error):
                raise
            log.warning("AWS does not list the %ss, so each is described separately: %s", self._kind.noun, error)
            self._may_list = False
            return None
        self._pages = pages
        return summaries


class JobLogs:
    """Reads the logs of many jobs from one log group."""

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._group = group

    async def read(self, logs: Sequence[JobLog]) -> None:
        """Give each log its new lines; none to a log that is not there yet.

        Raises botocore's other errors, after which what was not read is read the next time.
        """
        together = [job_log for job_log in logs if job_log.is_found] if len(logs) > 1 else []
        for job_log in logs:
            if job_log not in together:
                await self._read_alone(job_log)
        for batch in _batches(together):
            await self._read_together(batch)

    async def _read_alone(self, job_log: JobLog) -> None:
        """Read all streams of one job, known or not."""
        start = min([job_log.since_ms, *(stream.floor for stream in job_log.streams.values())])
        found = await self._search(start, logStreamNamePrefix=f"{job_log.job}/")
        if found is None:
            return
        events, until = found
        for event in events:
            if event["logStreamName"].startswith(f"{job_log.job}/"):
                job_log.take(event)
        job_log.since_ms = max(job_log.since_ms, until)
        for stream in job_log.streams.values():
            stream.read_until(until)

    async def _read_together(self, batch: Sequence[tuple[JobLog, str]]) -> None:
        start = min(job_log.streams[name].floor for job_log, name in batch)
        readers: dict[str, list[JobLog]] = {}
        for job_log, name in batch:
            readers.setdefault(name, []).append(job_log)
        found = await self._search(start, logStreamNames=list(readers))
        if found is None:
            for job_log, _ in batch:
                job_log.forget_streams()
            return
        events, until = found
        for event in events:
            for job_log in readers.get(event["logStreamName"], ()):
                job_log.take(event)
        for job_log, name in batch:
            job_log.streams[name].read_until(until)

    async def _search(self, start: int, **streams: Any) -> tuple[list[Mapping[str, Any]], int] | None:
        """Events from `start` on, and until when they are complete, both in ms; None if a stream is absent."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - DAG files load this module

        events: list[Mapping[str, Any]] = []
        token: dict[str, str] = {}
        for _ in range(PAGES_AT_ONCE):
            try:
                page = await self._client.filter_log_events(
                    logGroupName=self._group, startTime=max(start, 0), interleaved=True, **streams, **token
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return None
                raise
            events += page["events"]
            if not page.get("nextToken"):
                return events, int(time_at_aws(page) * 1000) - OVERLAP_MS
            token = {"nextToken": page["nextToken"]}
        return events, int(events[-1]["timestamp"]) if events else start


def machines_of(description: Mapping[str, Any]) -> int:
    """How many machines a described job has."""
    resources = description.get("ResourceConfig") or description.get("TransformResources") or {}
    return int(resources.get("InstanceCount", 1))


def _stage(description: Mapping[str, Any] | None) -> str:
    return str((description or {}).get("SecondaryStatus", ""))


def _batches(logs: Sequence[JobLog]) -> Iterator[list[tuple[JobLog, str]]]:
    streams = [(job_log, name) for job_log in logs for name in sorted(job_log.streams)]
    for start in range(0, len(streams), STREAMS_AT_ONCE):
        yield streams[start : start + STREAMS_AT_ONCE]
