"""How long to wait before the next look at the jobs, and a trigger that only waits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

JITTER = 0.1
MOST_DOUBLINGS = 6
LONGEST_SECONDS = 120.0


@dataclass
class Backoff:
    """The pace that was asked for, so that a job's end is seen within it; each failed look in a row doubles the wait.

    Jitter, which only ever adds, keeps triggerers that started together from asking together.
    """

    failures: int = field(default=0, init=False)

    def wait(self, poll_seconds: float) -> float:
        """Seconds until the next look."""
        longest = max(LONGEST_SECONDS, 4 * poll_seconds)
        doubled = poll_seconds * 2.0 ** min(self.failures, MOST_DOUBLINGS)
        if self.failures:
            doubled = max(doubled, 1.0)
        return min(doubled, longest) * random.uniform(1.0, 1 + JITTER)  # noqa: S311


class PauseTrigger(BaseTrigger):
    """Fires once, after so many seconds by a clock that nobody sets; they begin anew in another triggerer."""

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
