"""What an archive holds: members, whose paths nobody trusts, and why some of them are not unpacked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from include.recordio.reader import BinarySource

LINK, SPECIAL, UNSAFE, SYSTEM = "link", "special_file", "unsafe_path", "system_file"
DUPLICATE, TOO_LARGE, UNSUPPORTED = "duplicate_path", "too_large", "unsupported"

LARGEST_MEMBER = (1 << 29) - 64
"""Bytes; a record holds no larger image."""
LARGEST_EXPANSION = 128 << 30
"""Bytes to which a member that is left out may expand before its archive is refused."""
LONGEST_KEY = 1024
"""Bytes of an S3 key in UTF-8 (S3 user guide)."""
SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
CHUNK = 1 << 20


class ArchiveError(ValueError):
    """An archive that cannot be read on; ``member`` is the last one that was begun."""

    def __init__(self, reason: str, *, offset: int, member: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset
        self.member = member


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a member is not unpacked."""

    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, or what claims to be one.

    ``read`` gives its bytes once, before the next member is asked for, and None where they are more than the number it
    is given.
    """

    name: str
    offset: int
    """Byte of the unpacked archive at which its header begins."""
    size: int | None
    """Bytes the archive declares, None where it tells only behind them."""
    read: Callable[[int], bytes | None]
    refusal: Refusal | None = None
    """Why it is no file that can be unpacked, whatever its path."""


def member_path(name: str) -> str | Refusal:
    """Turn a member's name into a path below the place where archives are unpacked, or say why it has none there.

    A backslash parts folders, as Windows writes it; empty and ``.`` parts are left out.
    """
    path = name.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:/", path):
        return Refusal(UNSAFE, "its path is absolute")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        return Refusal(UNSAFE, "its path leads out of the archive")
    if not parts:
        return Refusal(UNSAFE, "it has no name")
    if "__MACOSX" in parts or parts[-1].lower() in SYSTEM_FILES or parts[-1].startswith("._"):
        return Refusal(SYSTEM, "a file of the operating system, no data")
    return "/".join(parts)


class ForwardReader:
    """Exact reads from a source that gives what it likes; ``offset`` counts the bytes taken."""

    def __init__(self, source: BinarySource) -> None:
        self._source = source
        self._buffer = b""
        self._place = 0
        self.offset = 0

    def take(self, amount: int) -> bytes:
        """Give exactly ``amount`` bytes, fewer only at the end."""
        pieces: list[bytes] = []
        while amount:
            piece = self.some(amount)
            if not piece:
                break
            pieces.append(piece)
            amount -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def some(self, amount: int = CHUNK) -> bytes:
        """Give at least one and at most ``amount`` bytes, none at the end."""
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
