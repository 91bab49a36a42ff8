"""How long to wait before the next look at the jobs."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

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
