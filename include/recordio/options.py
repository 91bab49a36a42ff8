"""How images are packed, and the memory that this takes.

`ImageOptions` is one type for im2rec's command line, the run conf and the document of a dataset version. Decoding an
image takes a multiple of its pixels: here is how much, how much is taken at a time, and how much is kept for the next
images. Nothing here needs numpy or OpenCV: commands and forms read this module as they start.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from include.recordio.header import ImageHeader


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How an image is packed; the names and meanings are those of `im2rec.py -h`, but for the last two.

    A dataclass, so that the command line starts without pydantic. Raises ValueError for a value that is out of bounds;
    where a document of pydantic holds it, types and unknown names are checked as well.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    resize: int = 0
    """Length of the shorter edge in pixels; 0 keeps the size."""
    center_crop: bool = False
    """Crop the square in the middle before resizing."""
    quality: int = 95
    """JPEG quality 1 to 100, or PNG compression 0 to 9."""
    color: Literal[-1, 0, 1] = 1
    """1: three channels, 0: grayscale, -1: as stored."""
    encoding: Literal[".jpg", ".png"] = ".jpg"
    pass_through: bool = False
    """Pack the source bytes as they are."""
    fast_decode: bool = False
    """Decode large JPEGs at a half, a quarter or an eighth of their sides; only with `resize`."""
    minimum_side: int = 0
    """Refuse images whose shorter side has fewer pixels."""

    def __post_init__(self) -> None:
        if self.resize < 0 or self.minimum_side < 0:
            raise ValueError(f"resize {self.resize} and minimum_side {self.minimum_side} must be 0 or more pixels")
        if not 0 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality} must be from 0 to 100")
        if self.color not in (-1, 0, 1) or self.encoding not in (".jpg", ".png"):
            raise ValueError(f"color {self.color} must be -1, 0 or 1, encoding {self.encoding} .jpg or .png")
        if self.fast_decode and not self.resize:
            raise ValueError("fast_decode decodes no smaller than the image is packed: it needs resize")

    def as_dict(self) -> dict[str, Any]:
        """Each option by its name."""
        return asdict(self)

    @property
    def in_words(self) -> str:
        """The steps as a reader of a report sees them, such as `shorter side 256 pixels, JPEG of quality 95`."""
        if self.pass_through:
            return "the bytes as they came"
        steps = [
            "the centre square" if self.center_crop else "",
            f"shorter side {self.resize} pixels" if self.resize else "",
            {0: "grayscale", -1: "channels as stored"}.get(self.color, ""),
            f"JPEG of quality {self.quality}" if self.encoding == ".jpg" else "PNG",
        ]
        return ", ".join(step for step in steps if step)

    def packed_size(self, header: ImageHeader) -> tuple[int, int]:
        """Width and height of the packed image."""
        width, height = header.width, header.height
        if self.pass_through:
            return width, height
        if self.center_crop:
            width = height = header.short_side
        if self.resize:
            short = min(width, height)
            width, height = width * self.resize // short, height * self.resize // short
        return width, height

    def reduction(self, header: ImageHeader) -> int:
        """The part of a JPEG's sides that `fast_decode` decodes it to: 1, 2, 4 or 8.

        The largest that leaves the short side no shorter than `resize`. Other formats have no such shortcut.
        """
        if not self.fast_decode or not self.resize or self.color < 0 or header.format != "JPEG":
            return 1
        return next(part for part in (8, 4, 2, 1) if part == 1 or header.short_side >= self.resize * part)


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
