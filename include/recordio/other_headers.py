"""Headers of the rarer formats that OpenCV decodes: BMP, GIF, WebP, AVIF, PNM.

Sources: the formats' specifications (GIF89a, RFC 9649 for WebP, netpbm).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from include.recordio.avif_header import read_avif
from include.recordio.file_parts import HeaderError, riff_chunks
from include.recordio.tiff_header import exif_orientation

Sizes = tuple[int, int, int, int, int, bool]
"""Width, height, channels, bits, EXIF orientation, and whether there is more than one frame."""

_PNM_NUMBER = re.compile(rb"(?:\s|#[^\n]{0,1000}\n){1,1000}(\d{1,10})")
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
_MOST_GIF_BLOCKS = 1_000_000


def _read_bmp(source: bytes) -> Sizes:
    (size,) = struct.unpack_from("<I", source, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", source, 18)
    return abs(width), abs(height), 3, 8, 1, False


def _read_gif(source: bytes) -> Sizes:
    width, height = struct.unpack_from("<HH", source, 6)
    return width, height, 3, 8, 1, _gif_frames(source) > 1


def _gif_frames(source: bytes) -> int:
    """How many frames a GIF has, counted up to 2."""
    frames = blocks = 0
    place = 13 + _color_table(source[10])
    while frames < 2 and place < len(source):
        if source[place] == _GIF_IMAGE and place + 10 < len(source):
            frames += 1
            place += 10 + _color_table(source[place + 9]) + 1
        elif source[place] == _GIF_EXTENSION:
            place += 2
        else:
            break
        while place < len(source) and source[place] and blocks < _MOST_GIF_BLOCKS:
            place += source[place] + 1
            blocks += 1
        place += 1
    return frames


def _color_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _read_webp(source: bytes) -> Sizes:
    sizes: tuple[int, int, int] | None = None
    orientation, animated = 0, False
    for name, start, end in riff_chunks(source):
        if sizes is None:
            sizes = _webp_sizes(name, source, start)
            animated = name == b"VP8X" and bool(source[start] & 0x02)
            if not (name == b"VP8X" and source[start] & 0x08):
                orientation = 1  # libwebp finds no EXIF that the header does not announce
        elif name == b"EXIF" and not orientation:
            orientation = exif_orientation(source[start:end])
    if sizes is None:
        raise HeaderError("the WebP holds no image")
    return *sizes, 8, orientation or 1, animated


def _webp_sizes(name: bytes, source: bytes, start: int) -> tuple[int, int, int]:
    """Width, height and channels out of the first chunk of a WebP."""
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(source[place : place + 3], "little") for place in (start + 4, start + 7))
        return width, height, 4 if source[start] & 0x10 else 3
    if name == b"VP8L":
        (packed,) = struct.unpack_from("<I", source, start + 1)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, 4 if packed >> 28 & 1 else 3
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", source, start + 6)
        return width & 0x3FFF, height & 0x3FFF, 3
    raise HeaderError(f"the first chunk of the WebP is {name!r}, which holds no size")


def _read_pnm(source: bytes) -> Sizes:
    kind = int(source[1:2])
    numbers: list[int] = []
    place = 2
    while len(numbers) < (2 if kind in (1, 4) else 3):
        found = _PNM_NUMBER.match(source, place)
        if found is None:
            raise HeaderError("the PNM has no width and height, or too long a comment before them")
        numbers.append(int(found[1]))
        place = found.end()
    sixteen = len(numbers) > 2 and numbers[2] > 255
    return numbers[0], numbers[1], 3 if kind in (3, 6) else 1, 16 if sixteen else 8, 1, False


OTHER_FORMATS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], Sizes]]] = {
    "BMP": (lambda source: source.startswith(b"BM"), _read_bmp),
    "GIF": (lambda source: source.startswith((b"GIF87a", b"GIF89a")), _read_gif),
    "WebP": (lambda source: source.startswith(b"RIFF") and source.startswith(b"WEBP", 8), _read_webp),
    "AVIF": (lambda source: source.startswith((b"ftypavif", b"ftypavis"), 4), read_avif),
    "PNM": (lambda source: source[:1] == b"P" and source[1:2] in b"123456" and source[2:3].isspace(), _read_pnm),
}
"""Format -> whether bytes begin like it, and how its header is read."""
