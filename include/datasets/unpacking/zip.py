"""Read a zip archive once and forward, by the headers before its members, and check its directory at the end.

A server need not give ranges, and memory does not grow with the directory. Only the directory shows which members are
symbolic links, so these are known when it comes: `withdrawn` names them.

Source of the headers: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3 (layout), 4.4 (fields), 4.5.3 (zip64) and 4.6.9 (Unicode
path).
"""

from __future__ import annotations

import stat
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from include.datasets.errors import DatasetError, reading_foreign_bytes
from include.datasets.unpacking.archive import (
    CHUNK,
    FIRST_READ,
    LARGEST_EXPANSION,
    LINK,
    MEND,
    UNSUPPORTED,
    ArchiveError,
    Expansion,
    ExpansionLimits,
    ForwardReader,
    Member,
    Refusal,
)
from include.recordio.format import BinarySource

LOCAL, DESCRIPTOR, DIRECTORY = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02"
END, END_64, LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
LOCAL_SIZE, DIRECTORY_SIZE, END_SIZE = 30, 46, 22
STORED, DEFLATED = 0, 8
UNKNOWN = 0xFFFFFFFF
"""A size or place that stands in the zip64 extra field."""
DESCRIPTOR_SIZE = 24
"""Of the longest one."""
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_DIRECTORY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
T = TypeVar("T")


class ZipMembers:
    """The members of a zip archive in their order. Raises ArchiveError if it is damaged, cut off or encrypted."""

    def __init__(self, source: BinarySource, expansion: Expansion | None = None) -> None:
        self._reader = ForwardReader(source)
        self._expansion = expansion or Expansion(ExpansionLimits())
        self._offsets = array("Q")
        self._member = ""
        self.withdrawn: list[tuple[str, Refusal]] = []
        """Known after the last member: those that were given as files and are none."""

    def __iter__(self) -> Iterator[Member]:
        with reading_foreign_bytes(self._damaged, own=(ArchiveError, DatasetError)):
            yield from self._members()

    def _members(self) -> Iterator[Member]:
        while (signature := self._reader.peek(4)) == LOCAL:
            offset = self._reader.offset
            header = self._header()
            self._offsets.append(offset)
            data = _MemberData(self._reader, header, self._expansion)
            if not header.name.endswith(("/", "\\")) or header.size:
                size = None if header.told_behind else header.size
                yield Member(header.name, offset, size, partial(self._read, data), _refusal(header))
            self._named(data.finish)
        self._read_directory(signature)

    def _read(self, data: _MemberData, limit: int) -> bytes | None:
        return self._named(lambda: data.read(limit))

    def _named(self, step: Callable[[], T]) -> T:
        try:
            with reading_foreign_bytes(
                lambda reason: self._damaged(f"its bytes cannot be unpacked ({reason})"),
                own=(ArchiveError, DatasetError),
            ):
                return step()
        except ArchiveError as error:
            raise self._damaged(error.reason, remedy=error.remedy) from error

    def _header(self) -> LocalHeader:
        fixed = self._exactly(LOCAL_SIZE)
        name, extra, _ = lengths(fixed, directory=False)
        header = local_header(fixed, self._exactly(name), self._exactly(extra))
        self._member = header.name
        if header.encrypted:
            raise self._damaged("the member is encrypted: pack the archive without a password")
        if header.told_behind and header.method not in (STORED, DEFLATED):
            raise self._damaged(f"its compression (method {header.method}) is not known: use deflate, the usual one")
        return header

    def _read_directory(self, signature: bytes) -> None:
        met = bytearray(len(self._offsets))
        while signature == DIRECTORY:
            fixed = self._exactly(DIRECTORY_SIZE)
            name, extra, comment = lengths(fixed, directory=True)
            entry = directory_entry(fixed, self._exactly(name), self._exactly(extra))
            self._exactly(comment)
            place = bisect_left(self._offsets, entry.offset)
            if place == len(self._offsets) or self._offsets[place] != entry.offset:
                raise self._damaged(f"the directory names {entry.name!r} at byte {entry.offset}, if it is not")
            met[place] = 1
            if entry.link:
                self.withdrawn.append((entry.name, Refusal(LINK, "a symbolic link")))
            signature = self._reader.peek(4)
        if signature == END_64:
            fixed = self._exactly(12)
            self._exactly(int.from_bytes(fixed[4:], "little"))
            signature = self._reader.peek(4)
        if signature == LOCATOR_64:
            self._exactly(20)
            signature = self._reader.peek(4)
        if signature != END:
            raise self._damaged("the archive is cut off" if len(signature) < 4 else "what follows is not a header")
        count = count_of_end(self._exactly(END_SIZE))
        absent = met.find(0)
        if absent >= 0 or count not in (len(met) & 0xFFFF, 0xFFFF):
            where = f"; the member at byte {self._offsets[absent]} is not in it" if absent >= 0 else ""
            raise self._damaged(f"it has {len(met)} members, and its directory lists another number{where}")

    def _exactly(self, amount: int) -> bytes:
        data = self._reader.take(amount)
        if len(data) < amount:
            raise self._damaged("the archive is cut off")
        return data

    def _damaged(self, reason: str, remedy: str = MEND) -> ArchiveError:
        return ArchiveError(reason, offset=self._reader.offset, member=self._member, remedy=remedy)


class _MemberData:
    """The bytes of one member, read or passed over once; its length and checksum are checked against its header."""

    def __init__(self, reader: ForwardReader, header: LocalHeader, expansion: Expansion) -> None:
        self._reader = reader
        self._header = header
        self._expansion = expansion
        self._begun = False

    def read(self, limit: int) -> bytes | None:
        """Give all bytes, None if they are more than `limit`: nothing is expanded that is declared to be."""
        if not self._header.told_behind:
            if self._header.size > limit:
                return None
            self._expansion.check(self._header.size, packed=self._reader.offset + self._header.packed)
        pieces: list[bytes] | None = []
        length = 0
        for piece in self._expanded():
            length += len(piece)
            if length > limit:
                pieces = None
            elif pieces is not None:
                pieces.append(piece)
        return None if pieces is None else b"".join(pieces)

    def finish(self) -> None:
        """Come to the byte behind the member."""
        if self._begun:
            return
        if self._header.told_behind:
            for _ in self._expanded():
                pass
        else:
            self._begun = True
            if self._reader.skip(self._header.packed) < self._header.packed:
                raise self._error("the archive is cut off")
            self._descriptor()

    def _expanded(self) -> Iterator[bytes]:
        self._begun = True
        crc = length = 0
        start = self._reader.offset
        for piece in self._inflated() if self._header.method == DEFLATED else self._stored():
            crc = zlib.crc32(piece, crc)
            length += len(piece)
            if length > LARGEST_EXPANSION:
                raise self._error(f"it expands to more than {LARGEST_EXPANSION} bytes")
            self._expansion.grow(len(piece), packed=self._reader.offset)
            yield piece
        told = self._header
        descriptor = self._descriptor()
        expected = (descriptor[0], descriptor[1]) if descriptor else (told.crc, told.size)
        packed = self._packed if self._header.told_behind else told.packed
        if not told.told_behind and self._header.method == DEFLATED and self._end - start != packed:
            raise self._error(f"its data end after {self._end - start} of {packed} bytes")
        if (crc, length) != expected:
            raise self._error(f"its bytes have the checksum {crc:08x}, not {expected[0]:08x}")

    _packed = 0
    _end = 0

    def _inflated(self) -> Iterator[bytes]:
        start = self._reader.offset
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        amount = FIRST_READ
        while not inflate.eof:
            source = inflate.unconsumed_tail or self._reader.some(amount)
            if not source:
                raise self._error("the archive is cut off")
            amount = min(2 * amount, CHUNK)
            yield inflate.decompress(source, CHUNK)
        self._reader.give_back(inflate.unused_data)
        self._end = self._reader.offset
        self._packed = self._end - start

    def _stored(self) -> Iterator[bytes]:
        if self._header.told_behind:
            yield from self._up_to_descriptor()
            return
        left = self._header.packed
        while left:
            piece = self._reader.some(min(left, CHUNK))
            if not piece:
                raise self._error("the archive is cut off")
            left -= len(piece)
            yield piece

    def _up_to_descriptor(self) -> Iterator[bytes]:
        # The data may hold the signature themselves: it is the descriptor where checksum and length agree.
        crc = 0
        while True:
            head = self._reader.take(DESCRIPTOR_SIZE)
            if len(head) < 16:
                raise self._error("the archive is cut off")
            self._reader.give_back(head)
            if head.startswith(DESCRIPTOR) and self._is_descriptor(head, crc):
                return
            piece = self._reader.some()
            end, crc = self._data_before_descriptor(piece, crc)
            self._reader.give_back(piece[end:])
            yield piece[:end]

    def _data_before_descriptor(self, piece: bytes, crc: int) -> tuple[int, int]:
        """How many bytes of a piece are data for certain, one at least, and the checksum of all data up to there."""
        start = 0
        place = piece.find(DESCRIPTOR, 1)
        while 0 <= place <= len(piece) - DESCRIPTOR_SIZE:
            crc = zlib.crc32(piece[start:place], crc)
            self._packed += place - start
            start = place
            if self._is_descriptor(piece[place : place + DESCRIPTOR_SIZE], crc):
                return place, crc
            place = piece.find(DESCRIPTOR, place + 1)
        end = place if place >= 0 else max(len(piece) - 3, start + 1)
        self._packed += end - start
        return end, zlib.crc32(piece[start:end], crc)

    def _is_descriptor(self, head: bytes, crc: int) -> bool:
        if int.from_bytes(head[4:8], "little") != crc:
            return False
        return any(int.from_bytes(head[8 : 8 + width], "little") == self._packed for width in (4, 8))

    def _descriptor(self) -> tuple[int, int] | None:
        """Read checksum and length behind the data, with or without a signature, in 32 or 64 bits."""
        if not self._header.flags & 8:
            return None
        head = self._reader.take(24)
        place = 4 if head.startswith(DESCRIPTOR) else 0
        crc = int.from_bytes(head[place : place + 4], "little")
        for width in (8, 4) if self._header.zip64 else (4, 8):
            end = place + 4 + 2 * width
            packed = int.from_bytes(head[place + 4 : place + 4 + width], "little")
            follows = head[end : end + 4]
            known = self._packed if self._header.told_behind else self._header.packed
            if packed == known and (not follows or b"PK".startswith(follows[:2])):
                self._reader.give_back(head[end:])
                return crc, int.from_bytes(head[place + 4 + width : end], "little")
        raise self._error("the sizes after its data are not those of its data")

    def _error(self, reason: str) -> ArchiveError:
        return ArchiveError(reason, offset=self._reader.offset)


def _refusal(header: LocalHeader) -> Refusal | None:
    if header.method in (STORED, DEFLATED):
        return None
    return Refusal(UNSUPPORTED, f"its compression (method {header.method}) is not known: use deflate, the usual one")


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
    """What the directory at the archive's end reports about a member."""

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
