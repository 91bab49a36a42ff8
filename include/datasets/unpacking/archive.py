"""What both kinds of archive share, and the tar archives: members, whose paths nobody trusts, and exact reads.

An archive stops at its limits before it fills memory or S3: a small file may expand to any size. A tar is read once and
forward, compressed by gzip or not. The standard library reads headers of every kind; what it would pass over in silence
is checked here: a header that is none (it takes that for the end), an end without its mark, a header that asks for all
of the memory.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, cast

from include.datasets.errors import DatasetError, reading_foreign_bytes
from include.datasets.layout import unpacked_path
from include.datasets.source_image import Status, system_name, system_reason
from include.recordio.format import BinarySource

LINK, SPECIAL, UNSAFE = "link", "special_file", "unsafe_path"
DUPLICATE, TOO_LARGE, UNSUPPORTED = "duplicate_path", "too_large", "unsupported"

LARGEST_MEMBER = (1 << 29) - 64
"""Bytes; a record has no larger image."""
LARGEST_EXPANSION = 128 << 30
"""Bytes to which one member may expand, also one that is left out, before its archive is refused."""
SMALL_EXPANSION = 256 << 20
"""Bytes up to which an archive may expand whatever its ratio: black pictures compress a thousandfold."""
LONGEST_KEY = 1024
"""Bytes of an S3 key in UTF-8 (S3 user guide)."""
CHUNK = 1 << 20
FIRST_READ = 1 << 12
"""Bytes that are first read of compressed data, then twice as many each time: what lies behind their end is copied."""
MEND = "repair the archive or upload it again; nothing is made of part of an archive"


class ArchiveError(ValueError):
    """An archive that cannot be read on; `member` is the last one that was begun."""

    def __init__(self, reason: str, *, offset: int, member: str = "", remedy: str = MEND) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.member = member
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class ExpansionLimits:
    """How far one archive may expand, all its members together and those that are left out as well."""

    total: int = 1000 * 10**9
    """Bytes."""
    ratio: int = 100
    """Expanded to packed bytes. Photographs have a ratio of about 1; deflate reaches 1,032."""


class Expansion:
    """Counts what an archive expands to, and stops it at its limits, before the bytes are made if it declares them.

    Raises ArchiveError with the figures.
    """

    def __init__(self, limits: ExpansionLimits) -> None:
        self._limits = limits
        self.expanded = 0
        """Bytes so far."""

    def grow(self, amount: int, *, packed: int) -> None:
        """Count bytes that were made of the archive's first `packed` bytes."""
        self.expanded += amount
        self.check(0, packed=packed)

    def check(self, declared: int, *, packed: int) -> None:
        """Look whether so many bytes more, made of the archive's first `packed` bytes, are within the limits."""
        total, limits = self.expanded + declared, self._limits
        if total > limits.total:
            raise _beyond(total, packed, f"an archive may expand to {_gigabytes(limits.total)}", "archive_max_gb")
        if total > SMALL_EXPANSION and total > limits.ratio * max(packed, 1):
            limit = f"an archive may expand to {limits.ratio} times its size"
            raise _beyond(total, packed, limit, "archive_max_ratio")


def _beyond(total: int, packed: int, limit: str, setting: str) -> ArchiveError:
    return ArchiveError(
        f"it expands to {_gigabytes(total)} and more, from {packed / 10**6:.1f} MB so far, and {limit}",
        offset=packed,
        remedy=f"split it, or raise {setting} in the Airflow Variable `image_classification` if you trust its "
        "origin; nothing is made of part of an archive",
    )


def _gigabytes(amount: int) -> str:
    return f"{amount / 10**9:,.2f} GB"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a member is not unpacked."""

    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or what claims to be one.

    `read` gives its bytes once, before the next member is asked for, and None where they are more than the number it
    is given.
    """

    name: str
    offset: int
    """Byte of the unpacked archive at which its header begins."""
    size: int | None
    """Bytes the archive declares, None if they are known only behind the data."""
    read: Callable[[int], bytes | None]
    refusal: Refusal | None = None
    """Why it is not a file that can be unpacked, whatever its path."""


def member_path(name: str) -> str | Refusal:
    """Turn a member's name into a path below the place where archives are unpacked, or say why it has none there.

    A backslash parts folders, as Windows writes it; empty and `.` parts are left out.
    """
    if re.match(r"/|[A-Za-z]:/", name.replace("\\", "/")):
        return Refusal(UNSAFE, "its path is absolute")
    path = unpacked_path(name)
    if ".." in path.split("/"):
        return Refusal(UNSAFE, "its path leads out of the archive")
    if not path:
        return Refusal(UNSAFE, "it has no name")
    system = system_name(path)
    return Refusal(Status.SYSTEM_FILE.value, system_reason(system)) if system else path


class ForwardReader:
    """Exact reads from a source that gives what it likes; `offset` counts the bytes taken."""

    def __init__(self, source: BinarySource) -> None:
        self._source = source
        self._buffer = b""
        self._place = 0
        self.offset = 0

    def take(self, amount: int) -> bytes:
        """Give exactly `amount` bytes, fewer only at the end."""
        pieces: list[bytes] = []
        while amount:
            piece = self.some(amount)
            if not piece:
                break
            pieces.append(piece)
            amount -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def some(self, amount: int = CHUNK) -> bytes:
        """Give at least one and at most `amount` bytes, none at the end."""
        if self._place >= len(self._buffer):
            self._buffer, self._place = self._source.read(CHUNK), 0
        piece = self._buffer[self._place : self._place + amount]
        self._place += len(piece)
        self.offset += len(piece)
        return piece

    read = some
    """A reader is a binary source as well."""

    def give_back(self, data: bytes) -> None:
        """Take the last bytes back: they come again."""
        if len(data) <= self._place:  # they still lie in the buffer: nothing is copied
            self._place -= len(data)
        else:
            self._buffer, self._place = data + self._buffer[self._place :], 0
        self.offset -= len(data)

    def skip(self, amount: int) -> int:
        """Read and forget; returns how many bytes there were."""
        left = amount
        while left:
            piece = self.some(min(left, CHUNK))
            if not piece:
                break
            left -= len(piece)
        return amount - left

    def peek(self, amount: int) -> bytes:
        """Give the next bytes without taking them."""
        data = self.take(amount)
        self.give_back(data)
        return data


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
            yield Member(self._member, info.offset, info.size, partial(self._data, info), _tar_refusal(info))
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


def _tar_refusal(info: tarfile.TarInfo) -> Refusal | None:
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
