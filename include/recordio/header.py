"""What an image reports about itself before it is decoded: format, size, channels, orientation.

JPEG, PNG, TIFF, BMP, GIF, WebP and PNM are read here; AVIF and JPEG 2000 in `file_parts`. A photograph's header costs
about five microseconds. Sources: ITU T.81 (JPEG markers), the PNG specification (chunks), TIFF 6.0 and BigTIFF, GIF89a,
RFC 9649 (WebP) and netpbm; and for EXIF, whose directory is that of a TIFF, what OpenCV 5 itself reads: a JPEG's Exif
segments, a PNG's `eXIf`, a WebP's `EXIF`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from include.recordio.file_parts import (
    BOX_START,
    CODE_START,
    HeaderError,
    png_chunks,
    read_avif,
    read_jpeg_2000,
    riff_chunks,
)

JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
MXNET_STARTS = (JPEG_START, PNG_START, b"BM", *TIFF_STARTS[:2])
"""How the images begin that MXNet's own OpenCV 3.4 decodes."""
MOST_SCANS = 64
"""Scans of a JPEG. The decoder goes over the whole image for each, of which a file of a megabyte can hold 100,000."""

_JPEG_SCAN = b"\xff\xda"
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


def is_truncated_jpeg(source: bytes) -> bool:
    """Whether a JPEG stops before its end: im2rec packs such an image with its missing part in gray."""
    if not source.startswith(JPEG_START) or source.endswith(JPEG_END):
        return False
    return source.find(JPEG_END, max(source.rfind(_JPEG_SCAN), 0)) < 0


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
        *sizes, part_bytes = (_read_tiff if name == "TIFF" else read_jpeg_2000)(source)
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


_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _CHANNELS = 0x100, 0x101, 0x102, 0x112, 0x115
_TIFF_PARTS = ((0x111, 0x117), (0x144, 0x145))
"""Offsets and lengths of a TIFF's strips, and of its tiles."""
_STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 0x116, 0x142, 0x143
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
_TEXTS = frozenset({0x10E, 0x10F, 0x110, 0x131, 0x132, 0x8298})
_FRACTIONS = frozenset({0x11A, 0x11B, 0x13E, 0x13F, 0x211, 0x214})
_MOST_TAGS = 0xFFFF
_LARGEST_PART = 1 << 22
"""Pixels of a tile that is larger than its image: writers fill up the last ones, to no more than this."""


def exif_orientation(tiff: bytes) -> int:
    """The orientation, 1 to 8, of an EXIF block as OpenCV 5 reads it; 0 if it has none that is valid.

    OpenCV reads the tag as two bytes whatever its type is, and no tag behind one whose value lies outside the block.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None or struct.unpack_from(f"{order}H", tiff, 2) != (42,):
            return 0
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, place)
        for start in range(place + 2, place + 2 + 12 * count, 12):
            tag, _, length, value, _ = struct.unpack_from(f"{order}HHIHH", tiff, start)
            if tag == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else 1
            _check_exif_value(tiff, order, tag, length, start + 8)
    except (struct.error, OverflowError):
        pass
    return 0


def _check_exif_value(tiff: bytes, order: str, tag: int, length: int, place: int) -> None:
    """Raise struct.error for a value that OpenCV looks up and that lies outside the block."""
    if tag in _FRACTIONS or (tag in _TEXTS and length > 4):
        (offset,) = struct.unpack_from(f"{order}I", tiff, place)
        struct.unpack_from(f"{length if tag in _TEXTS else 8}x", tiff, offset)


def _read_tiff(source: bytes) -> tuple[int, int, int, int, int, int]:
    """Width, height, channels, bits, orientation, and the bytes of the part that is decoded at once.

    Raises HeaderError for a directory that lacks the sizes, for tiles that are far larger than the image, and for
    strips and tiles that reach beyond the file.
    """
    tags = _tiff_directory(source)
    width, height = tags.first(_WIDTH, 0), tags.first(_HEIGHT, 0)
    if width <= 0 or height <= 0:
        raise HeaderError("its first directory has no width and height")
    channels, bits = tags.first(_CHANNELS, 1), tags.first(_BITS, 8)
    if not 1 <= channels <= 16 or not 0 <= bits <= 64:
        raise HeaderError(f"it has {channels} channels of {bits} bits, at most 16 of 64 can be decoded")
    part_width = tags.first(_TILE_WIDTH, width)
    part_height = tags.first(_TILE_HEIGHT, min(tags.first(_STRIP_ROWS, height), height))
    if part_width <= 0 or part_height <= 0 or part_width * part_height > max(width * height, _LARGEST_PART):
        raise HeaderError(f"its tiles of {part_width} x {part_height} pixels do not fit an image of {width} x {height}")
    for offsets, lengths in _TIFF_PARTS:
        for number, (start, length) in enumerate(zip(tags.every(offsets), tags.every(lengths), strict=False)):
            if start + length > len(source):
                raise HeaderError(f"its strip or tile {number} of {length} bytes at byte {start} is beyond the file")
    orientation = tags.first(_ORIENTATION, 1)
    part_bytes = part_width * part_height * channels * -(-bits // 8)
    return width, height, channels, max(bits, 8), orientation if 1 <= orientation <= 8 else 1, part_bytes


class _TiffDirectory:
    """Tags of whole numbers: the struct code of each, how many values it has, and the byte they begin at."""

    def __init__(self, tiff: bytes, order: str) -> None:
        self._tiff = tiff
        self._order = order
        self._tags: dict[int, tuple[str, int, int]] = {}

    def add(self, tag: int, code: str, count: int, place: int) -> None:
        """Keep a tag. Of one that stands twice the first counts, as for libtiff, and so for one outside the file."""
        self._tags.setdefault(tag, (code, count, place))

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return next(iter(self._read(tag, 1)), default)

    def every(self, tag: int) -> tuple[int, ...]:
        """All values of a tag."""
        return self._read(tag, None)

    def _read(self, tag: int, most: int | None) -> tuple[int, ...]:
        code, count, place = self._tags.get(tag, ("B", 0, 0))
        if place + count * struct.calcsize(f"={code}") > len(self._tiff):
            raise HeaderError(f"the {count} values of its tag {tag} at byte {place} are beyond the file")
        return struct.unpack_from(
            f"{self._order}{count if most is None else min(count, most)}{code}", self._tiff, place
        )


def _tiff_directory(tiff: bytes) -> _TiffDirectory:
    """Read the first directory of a TIFF. Raises HeaderError where it is beyond the file."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (version,) = struct.unpack_from(f"{order}H", tiff, 2)
    if version == 43:
        (place,) = struct.unpack_from(f"{order}Q", tiff, 8)
        wide, counted, entry = "Q", "Q", struct.Struct(f"{order}HHQ")
    else:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        wide, counted, entry = "I", "H", struct.Struct(f"{order}HHI")
    first = place + struct.calcsize(f"={counted}")
    if first > len(tiff):
        raise HeaderError(f"its first directory at byte {place} is beyond its {len(tiff)} bytes")
    (count,) = struct.unpack_from(f"{order}{counted}", tiff, place)
    inline = struct.calcsize(f"={wide}")
    size = entry.size + inline
    if count > _MOST_TAGS or first + count * size > len(tiff):
        raise HeaderError(f"its first directory of {count} tags at byte {place} reaches beyond its {len(tiff)} bytes")
    tags = _TiffDirectory(tiff, order)
    for start in range(first, first + count * size, size):
        tag, kind, values = entry.unpack_from(tiff, start)
        if kind in _WHOLE_NUMBERS and values:
            code, at = _WHOLE_NUMBERS[kind], start + entry.size
            if values * struct.calcsize(f"={code}") > inline:
                (at,) = struct.unpack_from(f"{order}{wide}", tiff, at)
            tags.add(tag, code, values, at)
    return tags


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


def _read_avif(source: bytes) -> Sizes:
    width, height, exif, animated = read_avif(source)
    return width, height, 3, 8, exif_orientation(exif) or 1, animated


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
    "AVIF": (lambda source: source.startswith((b"ftypavif", b"ftypavis"), 4), _read_avif),
    "PNM": (lambda source: source[:1] == b"P" and source[1:2] in b"123456" and source[2:3].isspace(), _read_pnm),
}
"""Format -> whether bytes begin like it, and how its header is read."""
