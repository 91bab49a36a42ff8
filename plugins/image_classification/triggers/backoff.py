"""How long to wait before the next look at a job."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

SLOWEST_SECONDS = 30.0
SHARE_OF_ELAPSED = 0.1
JITTER = 0.1


@dataclass
class Backoff:
    """Waits that grow with the time already waited, so that a short job is seen at once and a long one costs few calls.

    The wait is a tenth of the time elapsed, never below `poll_seconds`, never above the slowest pace; each throttled
    call in a row doubles it. Jitter keeps jobs that started together from asking together.
    """

    poll_seconds: float
    throttled: int = field(default=0, init=False)

    def wait(self, elapsed_seconds: float) -> float:
        """Seconds until the next call."""
        slowest = max(SLOWEST_SECONDS, self.poll_seconds)
        pace = min(slowest, max(self.poll_seconds, elapsed_seconds * SHARE_OF_ELAPSED))
        return min(pace * 2.0**self.throttled, 4 * slowest) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
