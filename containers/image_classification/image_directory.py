"""The directory of a TIFF file, which is also that of an Exif block.

Source: TIFF 6.0, its BigTIFF extension, and what OpenCV reads of both.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ORDERS = {b"II": "<", b"MM": ">"}
WIDTH, HEIGHT, BITS, ORIENTATION, CHANNELS = 0x100, 0x101, 0x102, 0x112, 0x115
STRIP_ROWS, TILE_WIDTH, TILE_HEIGHT = 0x116, 0x142, 0x143
DATA = ((0x111, 0x117), (0x144, 0x145))
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
TEXTS = frozenset({0x10E, 0x10F, 0x110, 0x131, 0x132, 0x8298})
FRACTIONS = frozenset({0x11A, 0x11B, 0x13E, 0x13F, 0x211, 0x214})
MOST_TAGS = 0xFFFF
LARGEST_PART = 1 << 22


class BrokenImageError(ValueError):
    """An image that must not be decoded; the sentence says why."""


class Directory(NamedTuple):
    """A TIFF's tags of whole numbers: struct code, how many values, and the byte they begin at."""

    tiff: memoryview
    order: str
    tags: dict[int, tuple[str, int, int]]

    def every(self, tag: int, most: int | None = None) -> tuple[int, ...]:
        """The values of a tag, or the first of them; raises BrokenImageError for values beyond the file."""
        code, count, place = self.tags.get(tag, ("B", 0, 0))
        if place + count * struct.calcsize(f"={code}") > len(self.tiff):
            raise BrokenImageError(f"the {count} values of its tag {tag} at byte {place} are beyond the file")
        wanted = count if most is None else min(count, most)
        return struct.unpack_from(f"{self.order}{wanted}{code}", self.tiff, place)

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return next(iter(self.every(tag, 1)), default)


def exif_orientation(block: bytes) -> int:
    """The orientation, 1 to 8, of an Exif block; 0 when it has none that is valid.

    OpenCV reads the tag as two bytes whatever its type is, and no tag behind one whose value lies outside the block.
    """
    order = ORDERS.get(block[:2])
    try:
        if order is None or struct.unpack_from(f"{order}H", block, 2) != (42,):
            return 0
        (place,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, place)
        for start in range(place + 2, place + 2 + 12 * count, 12):
            tag, _, length, value, _ = struct.unpack_from(f"{order}HHIHH", block, start)
            if tag == ORIENTATION:
                return int(value) if 1 <= value <= 8 else 1
            if tag in FRACTIONS or (tag in TEXTS and length > 4):
                (offset,) = struct.unpack_from(f"{order}I", block, start + 8)
                struct.unpack_from(f"{length if tag in TEXTS else 8}x", block, offset)
    except (struct.error, OverflowError):
        pass
    return 0


def read_tiff(tiff: memoryview) -> tuple[int, int, int, int]:
    """Width, height, orientation, and the bytes of the strip or tile that is decoded at once.

    Raises BrokenImageError for sizes that are missing, tiles far larger than the image, and data beyond the file.
    """
    tags = read_directory(tiff)
    width, height = tags.first(WIDTH, 0), tags.first(HEIGHT, 0)
    if width <= 0 or height <= 0:
        raise BrokenImageError("its first directory has no width and height")
    channels, bits = tags.first(CHANNELS, 1), tags.first(BITS, 8)
    if not 1 <= channels <= 16 or not 0 <= bits <= 64:
        raise BrokenImageError(f"it has {channels} channels of {bits} bits, at most 16 of 64 can be decoded")
    part_width = tags.first(TILE_WIDTH, width)
    part_height = tags.first(TILE_HEIGHT, min(tags.first(STRIP_ROWS, height), height))
    if part_width <= 0 or part_height <= 0 or part_width * part_height > max(width * height, LARGEST_PART):
        raise BrokenImageError(f"its tiles of {part_width} x {part_height} pixels do not fit {width} x {height}")
    for offsets, lengths in DATA:
        for number, (start, length) in enumerate(zip(tags.every(offsets), tags.every(lengths), strict=False)):
            if start + length > len(tiff):
                raise BrokenImageError(f"its strip or tile {number} of {length} bytes at byte {start} is cut off")
    orientation = tags.first(ORIENTATION, 1)
    return width, height, orientation if 1 <= orientation <= 8 else 1, part_width * part_height * channels * bits // 8


def read_directory(tiff: memoryview) -> Directory:
    """The first directory of a TIFF; raises BrokenImageError when it is beyond the file."""
    order = ORDERS[bytes(tiff[:2])]
    (version,) = struct.unpack_from(f"{order}H", tiff, 2)
    wide, counted, entry = ("Q", "Q", f"{order}HHQ") if version == 43 else ("I", "H", f"{order}HHI")
    (place,) = struct.unpack_from(f"{order}{wide}", tiff, 8 if version == 43 else 4)
    first = place + struct.calcsize(f"={counted}")
    if first > len(tiff):
        raise BrokenImageError(f"its first directory at byte {place} is beyond its {len(tiff)} bytes")
    (count,) = struct.unpack_from(f"{order}{counted}", tiff, place)
    head, inline = struct.calcsize(entry), struct.calcsize(f"={wide}")
    if count > MOST_TAGS or first + count * (head + inline) > len(tiff):
        raise BrokenImageError(f"its first directory of {count} tags at byte {place} reaches beyond the file")
    tags: dict[int, tuple[str, int, int]] = {}
    for start in range(first, first + count * (head + inline), head + inline):
        tag, kind, values = struct.unpack_from(entry, tiff, start)
        if kind in WHOLE_NUMBERS and values:
            code, at = WHOLE_NUMBERS[kind], start + head
            if values * struct.calcsize(f"={code}") > inline:
                (at,) = struct.unpack_from(f"{order}{wide}", tiff, at)
            tags.setdefault(tag, (code, values, at))
    return Directory(tiff, order, tags)
