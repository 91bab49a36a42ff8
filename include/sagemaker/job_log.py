"""The lines of jobs in CloudWatch Logs, each line once, as they come: one call serves up to a hundred machines.

GetLogEvents reads one stream a call. FilterLogEvents reads up to a hundred, which is why it is used here although AWS
allows fewer of it a second (5 to 10 an account and region, of GetLogEvents 10 to 25): fifty jobs cost one call a look.

Sources: API reference of FilterLogEvents (100 stream names, 10,000 events or 1 MB a page, a page may be empty);
"CloudWatch Logs quotas".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from include.sagemaker.answers import time_at_aws

STREAMS_AT_ONCE = 100
PAGES_AT_ONCE = 20
OVERLAP_MS = 120_000
"""How late a line may become visible: what was read is looked at once more for so long, by the clock of AWS."""


class LogLine(NamedTuple):
    """One line; `at` is its Unix time in seconds, `stream` the part of its stream's name after the job's."""

    at: float
    text: str
    stream: str = ""


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
        """Find the streams anew: one is gone. The newest lines are told twice."""
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


class JobLogs:
    """Reads the logs of many jobs from one log group."""

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._group = group

    async def read(self, logs: Sequence[JobLog]) -> None:
        """Give each log its new lines; none to a log that is not there yet.

        Raises botocore's other errors, after which what was not read is read the next time.
        """
        together = [log for log in logs if log.is_found] if len(logs) > 1 else []
        for log in logs:
            if log not in together:
                await self._read_alone(log)
        for batch in _batches(together):
            await self._read_together(batch)

    async def _read_alone(self, log: JobLog) -> None:
        """Read all streams of one job, known or not."""
        start = min([log.since_ms, *(stream.floor for stream in log.streams.values())])
        found = await self._search(start, logStreamNamePrefix=f"{log.job}/")
        if found is None:
            return
        events, until = found
        for event in events:
            if event["logStreamName"].startswith(f"{log.job}/"):
                log.take(event)
        log.since_ms = max(log.since_ms, until)
        for stream in log.streams.values():
            stream.read_until(until)

    async def _read_together(self, batch: Sequence[tuple[JobLog, str]]) -> None:
        start = min(log.streams[name].floor for log, name in batch)
        readers: dict[str, list[JobLog]] = {}
        for log, name in batch:
            readers.setdefault(name, []).append(log)
        found = await self._search(start, logStreamNames=list(readers))
        if found is None:
            for log, _ in batch:
                log.forget_streams()
            return
        events, until = found
        for event in events:
            for log in readers.get(event["logStreamName"], ()):
                log.take(event)
        for log, name in batch:
            log.streams[name].read_until(until)

    async def _search(self, start: int, **streams: Any) -> tuple[list[Mapping[str, Any]], int] | None:
        """Events from `start` on, and until when they are complete, both in ms; None where a stream is absent."""
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


def _batches(logs: Sequence[JobLog]) -> Iterator[list[tuple[JobLog, str]]]:
    streams = [(log, name) for log in logs for name in sorted(log.streams)]
    for start in range(0, len(streams), STREAMS_AT_ONCE):
        yield streams[start : start + STREAMS_AT_ONCE]
