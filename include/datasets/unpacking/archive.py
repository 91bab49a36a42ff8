"""Unpack an archive to objects: what it holds is never trusted, what is left out stands in a list with its reason."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from include.datasets.errors import DatasetError
from include.datasets.object_writer import ObjectWriter
from include.datasets.unpacking.members import (
    DUPLICATE,
    LARGEST_MEMBER,
    LONGEST_KEY,
    TOO_LARGE,
    UNSAFE,
    ArchiveError,
    Expansion,
    ExpansionLimits,
    ForwardReader,
    Member,
    Refusal,
    member_path,
)
from include.datasets.unpacking.tar import TarMembers
from include.datasets.unpacking.zip import ZipMembers
from include.datasets.unpacking.zip_format import END, LOCAL
from include.recordio.reader import BinarySource
from include.recordio.writer import BinarySink

logger = logging.getLogger(__name__)

ZIP, TAR_GZ, TAR = "zip", "tar.gz", "tar"
SHOWN = 5
OTHER_STARTS = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zX": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}


class _Members(Protocol):
    def __iter__(self) -> Iterator[Member]: ...


class ArchiveUnpacker:
    """Writes each member of an archive under ``prefix``; ``left_out`` takes a JSON line for each that is not.

    ``step`` hears of every member.
    """

    def __init__(
        self,
        writer: ObjectWriter,
        prefix: str,
        left_out: BinarySink,
        *,
        limits: ExpansionLimits | None = None,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._prefix = prefix
        self._list = left_out
        self._limits = limits or ExpansionLimits()
        self._step = step
        self.left_out: Counter[str] = Counter()

    def unpack(self, source: BinarySource, shown: str) -> None:
        """Read the archive to its end.

        Raises DatasetError that names ``shown``, the byte and the member where it is damaged, cut off or encrypted, or
        expands beyond its limits.
        """
        try:
            members = _open(ForwardReader(source), shown, Expansion(self._limits))
            for member in members:
                refusal = self._unpack(member)
                if refusal is not None:
                    self._leave_out(member.name, refusal)
                self._step()
            if isinstance(members, ZipMembers):
                self._withdraw(members)
        except ArchiveError as error:
            member_shown = f", in or behind {error.member!r}" if error.member else ""
            raise DatasetError(
                f"dataset.source = {shown}: {error.reason} (byte {error.offset}{member_shown}): {error.remedy}"
            ) from error
        if self.left_out:
            logger.warning("%s: left out %s", shown, dict(self.left_out))

    def _unpack(self, member: Member) -> Refusal | None:
        path = member_path(member.name)
        if isinstance(path, Refusal):
            return path
        if member.refusal is not None:
            return member.refusal
        key = f"{self._prefix}{path}"
        if len(key.encode()) > LONGEST_KEY:
            return Refusal(UNSAFE, f"its path gives a key of {len(key.encode())} bytes, S3 takes {LONGEST_KEY}")
        if self._writer.has_seen(key):
            return Refusal(DUPLICATE, "a member before it has the same path")
        data = member.read(LARGEST_MEMBER)
        if data is None:
            size = "more" if member.size is None else f"{member.size}"
            return Refusal(TOO_LARGE, f"it expands to {size} bytes, a record holds {LARGEST_MEMBER}")
        self._writer.put(key, data)
        return None

    def _withdraw(self, members: ZipMembers) -> None:
        for name, refusal in members.withdrawn:
            path = member_path(name)
            if isinstance(path, str) and self._writer.has_seen(f"{self._prefix}{path}"):
                self._writer.withdraw(f"{self._prefix}{path}")
                self._leave_out(name, refusal)

    def _leave_out(self, name: str, refusal: Refusal) -> None:
        self.left_out[refusal.status] += 1
        if self.left_out[refusal.status] <= SHOWN:
            logger.info("Left out %r: %s", name, refusal.reason)
        line = {"path": name, "status": refusal.status, "reason": refusal.reason}
        self._list.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _open(source: ForwardReader, shown: str, expansion: Expansion) -> _Members:
    start = source.peek(512)
    if start.startswith((LOCAL, END)):
        return ZipMembers(source, expansion)
    if start.startswith(b"\x1f\x8b"):
        return TarMembers(source, expansion, compressed=True)
    if start[257:262] == b"ustar" or _is_old_tar(start):
        return TarMembers(source, expansion, compressed=False)
    raise DatasetError(
        f"dataset.source = {shown}: {_what(start)}, no zip, tar or tar.gz archive: pack it as one of these, or name "
        "the address of the archive itself"
    )


def _is_old_tar(block: bytes) -> bool:
    """Tell a tar header without its magic by its checksum (POSIX 1003.1, ustar interchange format)."""
    try:
        wanted = int(block[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return wanted == sum(block[:148]) + 8 * 32 + sum(block[156:512])


def _what(start: bytes) -> str:
    if not start:
        return "it has no bytes"
    if start.lstrip()[:1] == b"<":
        return "a web page, as of a sign-in"
    known = next((what for magic, what in OTHER_STARTS.items() if start.startswith(magic)), None)
    return known or f"it begins with {start[:8].hex(' ')}"
