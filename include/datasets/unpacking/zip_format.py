"""The headers of a zip archive.

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 (layout), 4.4 (fields), 4.5.3 (zip64) and 4.6.9 (Unicode path).
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass

LOCAL, DESCRIPTOR, DIRECTORY = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02"
END, END_64, LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
LOCAL_SIZE, DIRECTORY_SIZE, END_SIZE = 30, 46, 22

STORED, DEFLATED = 0, 8
UNKNOWN = 0xFFFFFFFF
"""A size or place that stands in the zip64 extra field."""

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_DIRECTORY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")


@dataclass(frozen=True, slots=True)
class LocalHeader:
    """What stands before a member; sizes in bytes."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    zip64: bool

    @property
    def encrypted(self) -> bool:
        """Whether a password is needed."""
        return bool(self.flags & 0x2041)

    @property
    def told_behind(self) -> bool:
        """Whether the sizes follow behind the data, and are not known here."""
        return bool(self.flags & 8) and not self.packed


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """What the directory at the archive's end says of a member."""

    name: str
    offset: int
    link: bool


def local_header(fixed: bytes, name: bytes, extra: bytes) -> LocalHeader:
    """Read the header before a member."""
    _, _, flags, method, _, _, crc, packed, size, _, _ = _LOCAL.unpack(fixed)
    wide = _extra_field(extra, 1)
    if wide is not None:
        size, packed = _widened(wide, size, packed)
    return LocalHeader(_name(name, flags, extra), flags, method, crc, packed, size, wide is not None)


def directory_entry(fixed: bytes, name: bytes, extra: bytes) -> DirectoryEntry:
    """Read one entry of the directory."""
    fields = _DIRECTORY.unpack(fixed)
    made_by, flags, packed, size, attributes, offset = (fields[i] for i in (1, 3, 8, 9, 15, 16))
    wide = _extra_field(extra, 1)
    if wide is not None:
        _, _, offset = _widened(wide, size, packed, offset)
    made_on_unix = made_by >> 8 in (3, 19)
    return DirectoryEntry(_name(name, flags, extra), offset, made_on_unix and stat.S_ISLNK(attributes >> 16))


def lengths(fixed: bytes, *, directory: bool) -> tuple[int, int, int]:
    """Lengths of the name, the extra fields and the comment that follow a header."""
    if directory:
        name, extra, comment = _DIRECTORY.unpack(fixed)[10:13]
        return name, extra, comment
    name, extra = _LOCAL.unpack(fixed)[9:11]
    return name, extra, 0


def count_of_end(fixed: bytes) -> int:
    """How many members the archive says it has, in 16 bits."""
    return int(_END.unpack(fixed)[4])


def _widened(wide: bytes, *fields: int) -> list[int]:
    # Only the fields that do not fit stand there, in this order (section 4.5.3).
    values = list(fields)
    place = 0
    for index, value in enumerate(values):
        if value == UNKNOWN and len(wide) >= place + 8:
            values[index] = int.from_bytes(wide[place : place + 8], "little")
            place += 8
    return values


def _extra_field(extra: bytes, wanted: int) -> bytes | None:
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == wanted:
            return extra[place + 4 : place + 4 + length]
        place += 4 + length
    return None


def _name(raw: bytes, flags: int, extra: bytes) -> str:
    unicode_path = _extra_field(extra, 0x7075)
    if unicode_path is not None and not flags & 0x800:
        raw = unicode_path[5:]
    try:
        return raw.decode()  # many write UTF-8 without the flag that says so
    except UnicodeDecodeError:
        return raw.decode("cp437")
