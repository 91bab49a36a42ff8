"""Memory of decoded images: how much is taken at a time, and how much the C library keeps for the next ones."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

DECODING_BYTES = 160 << 20
"""Memory of the images that are decoded at the same time; one that takes more is decoded alone."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``malloc.h``."""


def keep_freed_memory(*, largest: int, kept: int) -> None:
    """Let this process reuse freed blocks of up to ``largest`` bytes, and ``kept`` bytes of them in every heap.

    Left alone glibc goes by the largest block it has seen: it fetches the memory of most images anew page by page, and
    after large ones keeps hundreds of megabytes in the heaps of threads. Other C libraries have no ``mallopt`` or do
    not mind. glibc takes 32 MiB for ``largest`` at most.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, largest)
        mallopt(_M_TRIM_THRESHOLD, kept)


class DecodingMemory:
    """Lets threads decode side by side as long as their images together keep to a bound."""

    def __init__(self, most: int = DECODING_BYTES) -> None:
        self._most = most
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Wait for so many bytes to be free, and hold them; an image beyond the bound waits until it is alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
