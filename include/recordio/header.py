"""What an image reports about itself before it is decoded: format, size, channels, orientation.

JPEG, PNG, BMP, GIF, WebP and PNM are read here; TIFF, AVIF and JPEG 2000 have one module each. A photograph's header
costs about five microseconds. Sources: ITU T.81 (JPEG markers), the PNG specification (chunks), GIF89a, RFC 9649 (WebP)
and netpbm; and for EXIF what OpenCV 5 itself reads: a JPEG's Exif segments, a PNG's `eXIf`, a WebP's `EXIF`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from include.recordio.avif_header import read_avif
from include.recordio.file_parts import HeaderError, png_chunks, riff_chunks
from include.recordio.jpeg_2000_header import BOX_START, CODE_START, read_jpeg_2000
from include.recordio.tiff_header import exif_orientation, read_tiff

JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
MOST_SCANS = 64
"""Scans of a JPEG. The decoder goes over the whole image for each, of which a file of a megabyte can hold 100,000."""

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xD8), 0xFF})
_MARK = 0xFF
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_APP1 = 0xE1
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_MOST_SEGMENTS = 10_000
_PNG_TEXTS = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_LARGEST_PNG_TEXT = 8_000_000
"""Bytes of a text that libpng unpacks."""
_MOST_PNG_TEXTS = 1 << 27
"""Bytes of all texts of a PNG. The decoder keeps them until the image is decoded."""
_MOST_EXPANSION = 1032
"""Of deflate: bytes that a byte may become."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """An image turned upright: its pixels, channels and bits of each, and the orientation it is stored in (1 to 8).

    `progressive` says that a JPEG has several scans, for which the decoder keeps the whole image. `part_bytes` is
    what a TIFF's largest strip or tile takes once decoded, what a PNG's texts take, and the pieces of a JPEG 2000.
    """

    format: str
    width: int
    height: int
    channels: int = 3
    bits: int = 8
    orientation: int = 1
    progressive: bool = False
    animated: bool = False
    part_bytes: int = 0

    @property
    def short_side(self) -> int:
        """The shorter side in pixels."""
        return min(self.width, self.height)

    @property
    def pixels(self) -> int:
        """Pixels of the whole image."""
        return self.width * self.height


def format_of(source: bytes) -> str | None:
    """Name the format that an image's first bytes are those of; None if there is none that can be decoded."""
    if source.startswith(JPEG_START):
        return "JPEG"
    if source.startswith(PNG_START):
        return "PNG"
    if source.startswith(TIFF_STARTS):
        return "TIFF"
    if source.startswith((BOX_START, CODE_START)):
        return "JPEG 2000"
    return next((name for name, (begins, _) in OTHER_FORMATS.items() if begins(source)), None)


def read_header(source: bytes) -> ImageHeader | None:
    """Read the header of an image; None where it is of no format that can be decoded.

    Raises HeaderError, and nothing else, for one that is broken or whose parts do not fit the file.
    """
    name = format_of(source)
    if name is None:
        return None
    try:
        width, height, channels, bits, orientation, more = _read(name, source)
    except HeaderError:
        raise
    except Exception as error:
        raise HeaderError("its header is broken") from error
    if width <= 0 or height <= 0:
        raise HeaderError(f"its header claims {width} x {height} pixels")
    if orientation > 4:
        width, height = height, width
    return ImageHeader(name, width, height, channels, bits, orientation, **more)


def _read(name: str, source: bytes) -> tuple[int, int, int, int, int, dict[str, Any]]:
    if name == "JPEG":
        return _read_jpeg(source)
    if name == "PNG":
        return _read_png(source)
    if name in {"TIFF", "JPEG 2000"}:
        *sizes, part_bytes = (read_tiff if name == "TIFF" else read_jpeg_2000)(source)
        width, height, channels, bits, orientation = sizes
        return width, height, channels, bits, orientation, {"part_bytes": part_bytes}
    width, height, channels, bits, orientation, animated = OTHER_FORMATS[name][1](source)
    return width, height, channels, bits, orientation, {"animated": animated}


def _read_jpeg(source: bytes) -> tuple[int, int, int, int, int, dict[str, Any]]:
    frame: tuple[int, int, int, int] | None = None
    progressive = False
    orientation = 0
    place = 2
    for _ in range(_MOST_SEGMENTS):
        if source[place] != _MARK or source[place + 1] in _WITHOUT_LENGTH:
            place = _next_segment(source, place)
        marker = source[place + 1]
        place += 2
        if marker == _START_OF_SCAN and frame is not None:
            break
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            raise HeaderError("the JPEG has no frame header")
        if marker in _FRAME_HEADERS:
            frame = struct.unpack_from(">BHHB", source, place + 2)
            progressive = marker in _PROGRESSIVE_FRAMES
        elif marker == _APP1 and not orientation and source.startswith(b"Exif\0\0", place + 2):
            orientation = exif_orientation(source[place + 8 : place + _length(source, place)])
        length = _length(source, place)
        if length < 2 or place + length > len(source):
            follow = len(source) - place
            raise HeaderError(
                f"its segment {marker:02X} at byte {place - 2} claims {length} bytes, but {follow} follow"
            )
        place += length
    else:
        raise HeaderError(f"the JPEG has more than {_MOST_SEGMENTS} segments before its first scan")
    bits, height, width, channels = frame
    several = progressive or source[place + 2] < channels
    if several:
        _check_scans(source, place)
    return width, height, channels, bits, orientation or 1, {"progressive": several}


def _length(source: bytes, place: int) -> int:
    return source[place] << 8 | source[place + 1]


def _next_segment(source: bytes, place: int) -> int:
    """The byte at which the next marker with a length begins. Raises HeaderError if there is none."""
    found = _SEGMENT.search(source, place)
    if found is None:
        raise HeaderError("the JPEG ends before its first scan")
    return found.start()


def _check_scans(source: bytes, place: int) -> None:
    """Raise HeaderError if a JPEG has too many scans; `place` is the length of the first one's segment."""
    rest = np.frombuffer(source, np.uint8, offset=place - 2)
    marks = np.flatnonzero(rest[:-1] == _MARK)  # ten times as fast as bytes.count
    if np.count_nonzero(rest[marks + 1] == _START_OF_SCAN) <= MOST_SCANS:
        return  # these bytes may also stand in what follows the image, but never fewer than there are scans
    scans = 1
    for _ in range(_MOST_SEGMENTS):
        found = _SEGMENT.search(source, place + _length(source, place))
        if found is None or source[found.start() + 1] == _END_OF_IMAGE:
            return
        place = found.start() + 2
        scans += source[place - 1] == _START_OF_SCAN
        if scans > MOST_SCANS:
            break
    raise HeaderError(f"the JPEG has more than {MOST_SCANS} scans")


def _read_png(source: bytes) -> tuple[int, int, int, int, int, dict[str, Any]]:
    if not source.startswith(b"IHDR", 12) or len(source) < 33:
        raise HeaderError("the first chunk of the PNG is not its header")
    width, height, bits, kind = struct.unpack_from(">IIBB", source, 16)
    channels, orientation, animated = _PNG_CHANNELS[kind], 0, False
    texts = 0
    for name, start, end in png_chunks(source):
        if name == b"IDAT":
            continue
        if name == b"tRNS":
            channels = 4
        elif name == b"acTL":
            animated = True
        elif name == b"fcTL":
            _check_frame(source, start, width, height)
        elif name == b"eXIf" and not orientation:
            orientation = exif_orientation(source[start:end])
        elif name in _PNG_TEXTS:
            texts = _with_text(texts, end - start)
    more = {"animated": animated, "part_bytes": texts}
    return width, height, channels, max(bits, 8), orientation or 1, more


def _with_text(texts: int, packed: int) -> int:
    """Add what a compressed text may unpack to. Raises HeaderError where all together are too much."""
    texts += min(packed * _MOST_EXPANSION, _LARGEST_PNG_TEXT)
    if texts > _MOST_PNG_TEXTS:
        raise HeaderError(f"its texts may unpack to {texts} bytes and more, at most {_MOST_PNG_TEXTS} are read")
    return texts


def _check_frame(source: bytes, start: int, width: int, height: int) -> None:
    """Raise HeaderError for a frame beyond its animation, over whose end OpenCV 4.11 writes."""
    frame_width, frame_height, left, top = struct.unpack_from(">IIII", source, start + 4)
    if left + frame_width > width or top + frame_height > height:
        raise HeaderError(
            f"a frame of {frame_width} x {frame_height} pixels at {left}, {top} is beyond the animation of "
            f"{width} x {height}"
        )


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
        raise HeaderError("the WebP has no image")
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
    raise HeaderError(f"the first chunk of the WebP is {name!r}, which has no size")


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
