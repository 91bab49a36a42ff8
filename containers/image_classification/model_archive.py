"""Unpacking a model.tar.gz, whoever made it: within a folder, and within bounds of size."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

MOST_UNPACKED = 16 << 30
"""Bytes of a model's files."""
MOST_TIMES = 100
"""How many times as large as the archive its files may be, from ALWAYS_UNPACKED on: weights hardly shrink at all."""
ALWAYS_UNPACKED = 64 << 20
MOST_MEMBERS = 10_000
LONGEST_READ = 1 << 20
LONGEST_HEADERS = 2 << 20
"""Bytes of all headers before one member."""


class UnusableArchiveError(ValueError):
    """An archive that is not unpacked; the sentence says why."""


class BoundedReads(gzip.GzipFile):
    """A gzip file of which little is read at once.

    tarfile reads a member's extended header whole, and two megabytes of gzip can hold one of two gigabytes. The map
    of a sparse file is read in small pieces, for as long as it continues.
    """

    headers: int | None = 0
    """Bytes read for a member, None once more than headers is read."""

    def read(self, size: int | None = -1) -> bytes:
        """Read on; raises tarfile.ReadError for more than a header or a piece of a file needs."""
        if size is None or not 0 <= size <= LONGEST_READ:
            raise tarfile.ReadError(f"it has a header of {size} bytes")
        if self.headers is not None:
            self.headers += size
            if self.headers > LONGEST_HEADERS:
                raise UnusableArchiveError(f"it has a member with headers of more than {LONGEST_HEADERS} bytes")
        return super().read(size)


def unpack_archive(archive: Path, target: Path) -> None:
    """Unpack a gzipped tar into a folder; raises UnusableArchiveError with what is wrong with it.

    Nothing is written before the sizes of all members are known, and nothing outside the folder.
    """
    try:
        with BoundedReads(archive) as packed, tarfile.open(fileobj=packed, mode="r:") as members:
            listed = listed_members(packed, members, archive.stat().st_size)
            packed.headers = None
            members.extractall(target, [plain_member(member, target) for member in listed])  # noqa: S202
    except UnusableArchiveError:
        raise
    except Exception as broken:
        raise UnusableArchiveError(" ".join(str(broken).split()) or type(broken).__name__) from broken


def listed_members(reads: BoundedReads, members: tarfile.TarFile, packed: int) -> list[tarfile.TarInfo]:
    """The members of an archive of `packed` bytes; raises UnusableArchiveError for more than the bounds allow."""
    most = min(MOST_UNPACKED, max(MOST_TIMES * packed, ALWAYS_UNPACKED))
    unpacked = 0
    listed: list[tarfile.TarInfo] = []
    for member in members:
        reads.headers = 0
        if member.size < 0:
            raise UnusableArchiveError(f"{member.name} claims {member.size} bytes")
        unpacked += member.size
        if len(listed) == MOST_MEMBERS:
            raise UnusableArchiveError(f"it has more than {MOST_MEMBERS} members")
        if unpacked > most:
            raise UnusableArchiveError(
                f"its files take more than {most} bytes unpacked, the archive has {packed}: no model shrinks so much"
            )
        listed.append(member)
    return listed


def plain_member(member: tarfile.TarInfo, target: Path) -> tarfile.TarInfo:
    """Let files and folders inside the target pass (tarfile's own filters came with Python 3.11.4)."""
    if not (member.isfile() or member.isdir()):
        raise UnusableArchiveError(f"{member.name} is neither a file nor a folder")
    if not (target / member.name).resolve().is_relative_to(target.resolve()):
        raise UnusableArchiveError(f"{member.name} would lie outside the model's folder")
    member.mode = 0o755 if member.isdir() else 0o644
    return member
