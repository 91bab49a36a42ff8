"""Headers of the rarer formats that OpenCV decodes: BMP, GIF, WebP, AVIF, JPEG 2000, PNM.

Sources: the formats' specifications (GIF89a, the WebP container, ISO/IEC 23008-12 for AVIF's boxes, ITU T.800, netpbm).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from include.recordio.tiff_header import exif_orientation

Sizes = tuple[int, int, int, int, int, bool]
"""Width, height, channels, bits, EXIF orientation, and whether there is more than one frame."""

_JPEG_2000_BOX = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_JPEG_2000_CODE = b"\xff\x4f\xff\x51"
_PNM = re.compile(rb"P([1-6])(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)(?:(?:\s+|#[^\n]*\n)+(\d+))?")
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21


def _read_bmp(source: bytes) -> Sizes:
    (size,) = struct.unpack_from("<I", source, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", source, 18)
    return abs(width), abs(height), 3, 8, 1, False


def _read_gif(source: bytes) -> Sizes:
    width, height = struct.unpack_from("<HH", source, 6)
    return width, height, 3, 8, 1, _gif_frames(source) > 1


def _gif_frames(source: bytes) -> int:
    frames = 0
    place = 13 + _color_table(source[10])
    while frames < 2 and place < len(source):
        if source[place] == _GIF_IMAGE and place + 10 < len(source):
            frames += 1
            place += 10 + _color_table(source[place + 9]) + 1
        elif source[place] == _GIF_EXTENSION:
            place += 2
        else:
            break
        while place < len(source) and source[place]:
            place += source[place] + 1
        place += 1
    return frames


def _color_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _read_webp(source: bytes) -> Sizes:
    kind = source[12:16]
    if kind == b"VP8X":
        flags = source[20]
        width, height = (1 + int.from_bytes(source[place : place + 3], "little") for place in (24, 27))
        return width, height, 4 if flags & 0x10 else 3, 8, _webp_orientation(source), bool(flags & 0x02)
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", source, 21)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, 4 if packed >> 28 & 1 else 3, 8, 1, False
    width, height = struct.unpack_from("<HH", source, 26)
    return width & 0x3FFF, height & 0x3FFF, 3, 8, 1, False


def _webp_orientation(source: bytes) -> int:
    place = 12
    while place + 8 <= len(source):
        name, length = struct.unpack_from("<4sI", source, place)
        if name == b"EXIF":
            return exif_orientation(source[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0"))
        place += 8 + length + (length & 1)
    return 1


def _read_avif(source: bytes) -> Sizes:
    # Several items may tell their size, tiles and thumbnails among them; the image is the largest.
    found = [struct.unpack_from(">II", source, box.end() + 4) for box in re.finditer(rb"ispe", source[: 1 << 16])]
    width, height = max(found, key=lambda size: int(size[0]) * int(size[1]))
    return width, height, 3, 8, 1, source.startswith(b"avis", 8)


def _read_jpeg_2000(source: bytes) -> Sizes:
    start = source.index(_JPEG_2000_CODE)
    right, bottom, left, top = struct.unpack_from(">IIII", source, start + 8)
    channels, depth = struct.unpack_from(">HB", source, start + 40)
    return right - left, bottom - top, channels, max((depth & 0x7F) + 1, 8), 1, False


def _read_pnm(source: bytes) -> Sizes:
    header = _PNM.match(source[:4096])
    if header is None:
        raise ValueError("no width and height")
    kind, width, height, maximum = (int(number or 0) for number in header.groups())
    sixteen = kind not in (1, 4) and maximum > 255
    return width, height, 3 if kind in (3, 6) else 1, 16 if sixteen else 8, 1, False


OTHER_FORMATS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], Sizes]]] = {
    "BMP": (lambda source: source.startswith(b"BM"), _read_bmp),
    "GIF": (lambda source: source.startswith((b"GIF87a", b"GIF89a")), _read_gif),
    "WebP": (lambda source: source.startswith(b"RIFF") and source.startswith(b"WEBP", 8), _read_webp),
    "AVIF": (lambda source: source.startswith((b"ftypavif", b"ftypavis"), 4), _read_avif),
    "JPEG 2000": (lambda source: source.startswith((_JPEG_2000_BOX, _JPEG_2000_CODE)), _read_jpeg_2000),
    "PNM": (lambda source: source[:1] == b"P" and source[1:2] in b"123456" and source[2:3].isspace(), _read_pnm),
}
"""Format -> whether bytes begin like it, and how its header is read."""
