"""The directory of a TIFF file, which is also that of EXIF. Source: TIFF 6.0, and the BigTIFF extension of it."""

from __future__ import annotations

import struct

_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _CHANNELS = 0x100, 0x101, 0x102, 0x112, 0x115
_SHORT, _LONG, _LONG8 = 3, 4, 16
_VALUES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 where it says none that is valid."""
    try:
        orientation = _directory(tiff).get(_ORIENTATION, 1)
    except (struct.error, KeyError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def read_tiff(source: bytes) -> tuple[int, int, int, int]:
    """Return width, height, channels and bits of a TIFF's first image. Raises KeyError or struct.error for none."""
    tags = _directory(source)
    return tags[_WIDTH], tags[_HEIGHT], tags.get(_CHANNELS, 1), max(tags.get(_BITS, 8), 8)


def _directory(tiff: bytes) -> dict[int, int]:
    """Return the first value of each short or long tag of the first directory."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (version,) = struct.unpack_from(f"{order}H", tiff, 2)
    if version == 43:
        (place,) = struct.unpack_from(f"{order}Q", tiff, 8)
        count_format, entry = "Q", struct.Struct(f"{order}HHQ8s")
    else:
        (place,) = struct.unpack_from(f"{order}I", tiff, 4)
        count_format, entry = "H", struct.Struct(f"{order}HHI4s")
    (count,) = struct.unpack_from(f"{order}{count_format}", tiff, place)
    first = place + struct.calcsize(count_format)
    tags: dict[int, int] = {}
    for start in range(first, first + count * entry.size, entry.size):
        if start + entry.size > len(tiff):
            break
        tag, kind, values, value = entry.unpack_from(tiff, start)
        if kind in _VALUES and values:
            one = struct.Struct(order + _VALUES[kind])
            tags[tag] = _first_value(tiff, one, values, value)
    return tags


def _first_value(tiff: bytes, one: struct.Struct, values: int, value: bytes) -> int:
    if values * one.size <= len(value):
        (inside,) = one.unpack_from(value)
        return int(inside)
    (offset,) = struct.unpack(one.format[:1] + ("Q" if len(value) == 8 else "I"), value)
    (outside,) = one.unpack_from(tiff, offset) if offset + one.size <= len(tiff) else (0,)
    return int(outside)
