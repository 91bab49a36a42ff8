"""The directory of a TIFF file, which is also that of EXIF. Source: TIFF 6.0, and the BigTIFF extension of it."""

from __future__ import annotations

import struct

from include.recordio.file_parts import HeaderError

_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _CHANNELS = 0x100, 0x101, 0x102, 0x112, 0x115
_DATA = ((0x111, 0x117), (0x144, 0x145))
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
            _check_value(tiff, order, tag, length, start + 8)
    except (struct.error, OverflowError):
        pass
    return 0


def _check_value(tiff: bytes, order: str, tag: int, length: int, place: int) -> None:
    """Raise struct.error for a value that OpenCV looks up and that lies outside the block."""
    if tag in _FRACTIONS or (tag in _TEXTS and length > 4):
        (offset,) = struct.unpack_from(f"{order}I", tiff, place)
        struct.unpack_from(f"{length if tag in _TEXTS else 8}x", tiff, offset)


def read_tiff(source: bytes) -> tuple[int, int, int, int, int, int]:
    """Width, height, channels, bits, orientation, and the bytes of the part that is decoded at once.

    Raises HeaderError for a directory that lacks the sizes, for tiles that are far larger than the image, and for
    strips and tiles that reach beyond the file.
    """
    tags = _directory(source)
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
    for offsets, lengths in _DATA:
        for number, (start, length) in enumerate(zip(tags.every(offsets), tags.every(lengths), strict=False)):
            if start + length > len(source):
                raise HeaderError(f"its strip or tile {number} of {length} bytes at byte {start} is beyond the file")
    orientation = tags.first(_ORIENTATION, 1)
    part_bytes = part_width * part_height * channels * -(-bits // 8)
    return width, height, channels, max(bits, 8), orientation if 1 <= orientation <= 8 else 1, part_bytes


class _Directory:
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


def _directory(tiff: bytes) -> _Directory:
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
    tags = _Directory(tiff, order)
    for start in range(first, first + count * size, size):
        tag, kind, values = entry.unpack_from(tiff, start)
        if kind in _WHOLE_NUMBERS and values:
            code, at = _WHOLE_NUMBERS[kind], start + entry.size
            if values * struct.calcsize(f"={code}") > inline:
                (at,) = struct.unpack_from(f"{order}{wide}", tiff, at)
            tags.add(tag, code, values, at)
    return tags
