"""How far a long command is: images and megabytes a second, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_MEGABYTE = 1_000_000


class Progress:
    """Counts images and bytes and tells about them: a line that changes on a terminal, a line now and then elsewhere.

    Without a stream it only counts. Seconds between lines: 0.5 on a terminal, 10 elsewhere.
    """

    def __init__(
        self, name: str, total: int, stream: TextIO | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._total = total
        self._stream = stream
        self._is_live = stream is not None and stream.isatty()
        self._clock = clock
        self._begun = clock()
        self._told = self._begun
        self._has_line = False
        self.images = 0
        self.read_bytes = 0

    def count(self, read_bytes: int) -> None:
        """Count an image of so many bytes."""
        self.images += 1
        self.read_bytes += read_bytes

    def tick(self) -> None:
        """Tell, when it is time to."""
        now = self._clock()
        if self._stream is None or now - self._told < (0.5 if self._is_live else 10):
            return
        self._told = now
        line = f"{self._name}: {self.images:,} of {self._total:,} images, {self.rates(now)}, {self._left(now)} left"
        self._stream.write(f"\r\x1b[K{line}" if self._is_live else f"{line}\n")
        self._stream.flush()
        self._has_line = self._is_live

    def clear(self) -> None:
        """Take the changing line away, so that another line can stand there."""
        if self._has_line and self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._has_line = False

    def rates(self, now: float | None = None) -> str:
        """Images and megabytes read a second since the beginning."""
        seconds = max((self._clock() if now is None else now) - self._begun, 1e-6)
        return f"{self.images / seconds:,.0f} images/s, {self.read_bytes / seconds / _MEGABYTE:,.1f} MB/s read"

    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begun

    def _left(self, now: float) -> str:
        if not self.images:
            return "unknown time"
        seconds = round((now - self._begun) / self.images * max(self._total - self.images, 0))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
