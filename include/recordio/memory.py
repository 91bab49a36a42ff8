"""Memory of decoded images: what one takes, how much is taken at a time, and how much is kept for the next ones."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.recordio.header import ImageHeader
    from include.recordio.options import ImageOptions

MOST_WORKING_BYTES = 1 << 30
"""Memory that decoding an image may take beside its source: some formats need ten times the pixels."""
DECODING_BYTES = 160 << 20
"""Memory of the images that are decoded at the same time; one that takes more is decoded alone."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `malloc.h`."""
_KEPT_BY_DECODER = {"AVIF": 12, "JPEG 2000": 16, "WebP": 8, "GIF": 4}
"""Bytes for each pixel beside the decoded ones."""


def working_bytes(header: ImageHeader, options: ImageOptions) -> int:
    """How much memory decoding and packing an image takes at most, beside its source bytes."""
    width, height = options.packed_size(header)
    resized = width * height * _bytes_of_pixel(header, options.color)
    return decoding_bytes(header, options.color, options.reduction(header)) + resized


def decoding_bytes(header: ImageHeader, color: int = 1, part: int = 1) -> int:
    """How much memory decoding an image takes at most, measured with OpenCV 5 for each format."""
    decoded = (header.width // part + 1) * (header.height // part + 1) * _bytes_of_pixel(header, color)
    kept = _KEPT_BY_DECODER.get(header.format, 0)
    if header.format == "PNG" and header.animated:
        kept = 3 * header.channels * header.bits // 8  # the frame, the canvas and the one before
    elif header.progressive:
        kept = 2 * header.channels  # the coefficients of every scan
    return 2 * decoded + header.pixels * kept + header.part_bytes  # OpenCV's own, and the array that Python gets of it


def _bytes_of_pixel(header: ImageHeader, color: int) -> int:
    if color >= 0:
        return 3
    channels = 4 if header.channels == 2 else header.channels  # gray with transparency is decoded to four
    return max(3, channels * header.bits // 8)


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


def keep_freed_memory(*, largest: int, kept: int) -> None:
    """Let this process reuse freed blocks of up to `largest` bytes, and `kept` bytes of them in every heap.

    Left alone glibc goes by the largest block it has seen: it fetches the memory of most images again page by page, and
    after large ones keeps hundreds of megabytes in the heaps of threads. Other C libraries have no `mallopt` or do
    not mind. glibc takes 32 MiB for `largest` at most.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, largest)
        mallopt(_M_TRIM_THRESHOLD, kept)
