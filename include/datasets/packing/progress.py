"""How far a shard is, told now and then while it is packed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.datasets.planning.version_plan import ShardTask

log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is: images done (bad ones too), images in all, and the pace so far."""

    shard: int
    split: str
    done: int
    total: int
    bad: int
    images_per_second: float
    megabytes_per_second: float
    """Source bytes, in millions."""
    eta_seconds: float
    """How long the rest takes at this pace."""

    def __str__(self) -> str:
        return (
            f"Shard {self.shard} ({self.split}): {self.done} of {self.total} images, {self.bad} of them bad, "
            f"{self.images_per_second:.0f} images/s, {self.megabytes_per_second:.1f} MB/s, "
            f"{self.eta_seconds:.0f} s to go"
        )


Report = Callable[[ShardProgress], None]


def log_progress(progress: ShardProgress) -> None:
    """Report to the log."""
    log.info("%s", progress)


class ProgressMeter:
    """Counts a shard's images and reports about every ten seconds, and whenever it is told to."""

    def __init__(self, shard: ShardTask, report: Report) -> None:
        self._shard = shard
        self._report = report
        self._started = self._told = time.monotonic()
        self._done = 0
        self._bad = 0
        self._bytes = 0

    def step(self, source_bytes: int, *, bad: bool) -> None:
        """Count one image."""
        self._done += 1
        self._bad += bad
        self._bytes += source_bytes
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Report now."""
        self._told = time.monotonic()
        seconds = max(self._told - self._started, 1e-6)
        left = self._shard.images - self._done
        self._report(
            ShardProgress(
                shard=self._shard.index,
                split=self._shard.split,
                done=self._done,
                total=self._shard.images,
                bad=self._bad,
                images_per_second=self._done / seconds,
                megabytes_per_second=self._bytes / seconds / 1e6,
                eta_seconds=left * seconds / max(self._done, 1),
            )
        )
