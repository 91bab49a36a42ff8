"""Read a tar archive, compressed by gzip or not, once and forward.

The standard library reads headers of every kind; what it would pass over in silence is checked here: a header that is
none (it takes that for the end), an end without its mark, a header that asks for all of the memory.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, cast

from include.datasets.errors import DatasetError, reading_foreign_bytes
from include.datasets.unpacking.archive import (
    CHUNK,
    FIRST_READ,
    LARGEST_EXPANSION,
    LINK,
    SPECIAL,
    TOO_LARGE,
    UNSUPPORTED,
    ArchiveError,
    Expansion,
    ExpansionLimits,
    ForwardReader,
    Member,
    Refusal,
)
from include.recordio.format import BinarySource

LARGEST_HEADER = 1 << 20
"""Bytes of all headers before a member: their parts are small, but a sparse file's map has any length."""
MOST_COMMON_VALUES = 100
"""Values that hold for all members of an archive. tarfile keeps them; git writes one."""


class TarMembers:
    """The members of a tar archive in their order. Raises ArchiveError if it is damaged or ends too early."""

    def __init__(self, source: BinarySource, expansion: Expansion | None = None, *, compressed: bool) -> None:
        expansion = expansion or Expansion(ExpansionLimits())
        self._blocks = _Blocks(_Gunzip(source, expansion) if compressed else _Counted(source, expansion))
        self._member = ""

    def __iter__(self) -> Iterator[Member]:
        with reading_foreign_bytes(self._damaged, own=(ArchiveError, DatasetError)):
            yield from self._members()

    def _members(self) -> Iterator[Member]:
        tar = tarfile.TarFile(fileobj=cast("IO[bytes]", self._blocks), mode="r")
        while (info := self._next(tar)) is not None:
            self._member = _readable(info.name)
            if info.isdir():
                continue
            end = self._blocks.tell() + (info.size if info.isreg() else 0)
            yield Member(self._member, info.offset, info.size, partial(self._data, info), _refusal(info))
            if self._blocks.tell() < end:
                self._pass_over(end - self._blocks.tell())
        self._check_end()

    def _next(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        self._blocks.begin_header()
        info = tar.next()
        tar.members.clear()  # type: ignore[attr-defined]  # it would remember all of them
        if len(tar.pax_headers) > MOST_COMMON_VALUES:
            raise self._damaged(f"it has more than {MOST_COMMON_VALUES} values for all its members")
        return info

    def _data(self, info: tarfile.TarInfo, limit: int) -> bytes | None:
        if info.size > limit:
            return None
        with reading_foreign_bytes(self._damaged, own=(ArchiveError, DatasetError)):
            data = self._blocks.reader.take(info.size)
        if len(data) < info.size:
            raise self._damaged(f"it ends after {len(data)} of the member's {info.size} bytes")
        return data

    def _pass_over(self, amount: int) -> None:
        if amount > LARGEST_EXPANSION:
            raise self._damaged(f"the member claims {amount} bytes, more than {LARGEST_EXPANSION}")
        passed = self._blocks.reader.skip(amount)
        if passed < amount:
            raise self._damaged(f"it ends after {passed} of the member's {amount} bytes")

    def _check_end(self) -> None:
        last = self._blocks.last
        if len(last) < tarfile.BLOCKSIZE or any(last):
            raise self._damaged("what follows is not a header" if any(last) else "the archive is cut off")
        reader = self._blocks.reader
        zeros = bytes(CHUNK)
        for _ in range(LARGEST_EXPANSION // CHUNK):
            rest = reader.some(CHUNK)
            if not rest:
                return
            if rest != zeros[: len(rest)]:
                raise self._damaged("data follow after its end: another archive was appended; unpack them one by one")

    def _damaged(self, reason: str) -> ArchiveError:
        return ArchiveError(reason, offset=self._blocks.tell(), member=self._member)


class _Blocks:
    """What tarfile reads headers from: it may go forward, and may not take much at once."""

    def __init__(self, source: BinarySource) -> None:
        self.reader = ForwardReader(source)
        self.last = b""
        self._header = 0

    def begin_header(self) -> None:
        self._header = 0

    def tell(self) -> int:
        return self.reader.offset

    def seek(self, position: int) -> None:
        self.reader.skip(max(position - self.reader.offset, 0))

    def read(self, amount: int) -> bytes:
        self._header += amount
        if self._header > LARGEST_HEADER:
            raise ArchiveError(
                f"a header of {self._header} bytes: no archive of files has one", offset=self.reader.offset
            )
        self.last = self.reader.take(amount)
        return self.last


class _Counted:
    """An archive that is not compressed: it expands to itself."""

    def __init__(self, source: BinarySource, expansion: Expansion) -> None:
        self._source = source
        self._expansion = expansion

    def read(self, amount: int, /) -> bytes:
        data = self._source.read(amount)
        self._expansion.grow(len(data), packed=self._expansion.expanded + len(data))
        return data


class _Gunzip:
    """Unpacks gzip, in one part or several, and gives what was whole before the damage; zlib checks sum and length."""

    def __init__(self, source: BinarySource, expansion: Expansion) -> None:
        self._reader = ForwardReader(source)
        self._expansion = expansion
        self._part = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._next_read = FIRST_READ
        self._begun = False

    def read(self, amount: int, /) -> bytes:
        while True:
            if self._part.eof and not self._next_part():
                return b""
            source = self._part.unconsumed_tail or self._some()
            if not source and self._begun:
                raise EOFError("the archive is cut off: its compressed data have no end")
            if not source:
                return b""
            self._begun = True
            data = self._part.decompress(source, amount)
            if self._part.eof:
                self._reader.give_back(self._part.unused_data)
            if data:
                self._expansion.grow(len(data), packed=self._reader.offset)
                return data

    def _some(self) -> bytes:
        amount, self._next_read = self._next_read, min(2 * self._next_read, CHUNK)
        return self._reader.some(amount)

    def _next_part(self) -> bool:
        while (following := self._reader.some(1)) == b"\0":
            pass  # padding, as tapes have it
        if not following:
            return False
        self._reader.give_back(following)
        self._next_read = FIRST_READ
        self._part = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return True


def _refusal(info: tarfile.TarInfo) -> Refusal | None:
    if info.issym() or info.islnk():
        return Refusal(LINK, f"a link to {_readable(info.linkname)!r}")
    if not info.isreg():
        return Refusal(SPECIAL, "a device or a pipe, not a file")
    if info.issparse():
        return Refusal(UNSUPPORTED, "a sparse file: pack it without --sparse")
    if info.size < 0:
        return Refusal(TOO_LARGE, f"it claims {info.size} bytes")
    return None


def _readable(name: str) -> str:
    # tarfile keeps bytes that are not UTF-8 as lone surrogates, which no key can hold.
    raw = name.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
