"""A job that a trigger waits for, between the watch that looks at it and the trigger that hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from include.sagemaker.job_kinds import ACTIVE, BEFORE_THE_CONTAINER, INTERRUPTED, JobKind
from include.sagemaker.job_log import JobLog, LogLine

CLOCKS_DIFFER_MS = 60_000


@dataclass(frozen=True)
class News:
    """What one look told of one job.

    `answer` is its description where it may have changed, or the error that AWS will always answer with; `notices` say
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
        """Take note of why the log could not be read, None where it was; returns the reason where it is a new one."""
        before, self.unread = self.unread, reason
        return reason if reason != before else None

    def take_lines(self) -> Sequence[LogLine]:
        """The lines that were read since the last call."""
        return self.log.take_lines() if self.log else ()

    def tell(self, news: News | Exception) -> None:
        """Pass on what a look told, or what ended all looking."""
        if isinstance(news, Exception) or news.answer is not None or news.lines or news.notices:
            self._news.put_nowait(news)

    async def next_news(self) -> News:
        """Wait for news. Raises what ended all looking."""
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        return news


def _stage(description: Mapping[str, Any] | None) -> str:
    return str((description or {}).get("SecondaryStatus", ""))


def machines_of(description: Mapping[str, Any]) -> int:
    """How many machines a described job has."""
    resources = description.get("ResourceConfig") or description.get("TransformResources") or {}
    return int(resources.get("InstanceCount", 1))
