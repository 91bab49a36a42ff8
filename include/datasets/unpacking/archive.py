"""What both kinds of archive share: members, whose paths nobody trusts, why some are not unpacked, and exact reads.

An archive stops at its limits before it fills memory or S3: a small file may expand to any size.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from include.datasets.source_image import Status, system_name, system_reason
from include.datasets.unpacked import unpacked_path
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
