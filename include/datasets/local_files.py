"""The files of a local folder, as they would be called in S3."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from include.datasets.sources.system_files import system_name

HIDDEN = "hidden or system"
SHOWN = 20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A readable file; `name` is its path below the folder, parted by slashes."""

    path: Path
    name: str
    size: int


@dataclass
class LocalFolder:
    """A folder that is walked in the order of its names; symbolic links are followed, once into each folder.

    What could not be taken is counted in `left_out` by its reason; `problems` names it, except for hidden and
    system files and folders, which nobody misses.
    """

    root: Path
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def files(self) -> Iterator[LocalFile]:
        """Walk the folder; every walk counts anew what is left out."""
        self.left_out.clear()
        self.problems.clear()
        yield from self._walk(self.root, "", ())

    def refuse(self, name: str, reason: str) -> None:
        """Note a file that is not taken."""
        self.left_out[reason] += 1
        self.problems.append(f"{_shown(name)}: {reason}")

    def _walk(self, folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[LocalFile]:
        try:
            status = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.refuse(prefix or str(folder), _reason(error))
            return
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self.refuse(prefix, "a symbolic link to a folder above it")
            return
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if system_name(entry.name):
                self.left_out[HIDDEN] += 1
            elif not _is_text(entry.name):
                self.refuse(name, "its name is no UTF-8")
            else:
                yield from self._entry(entry, name, (*above, identity))

    def _entry(self, entry: os.DirEntry[str], name: str, above: tuple[tuple[int, int], ...]) -> Iterator[LocalFile]:
        try:
            status = entry.stat()
        except OSError as error:
            self.refuse(name, _reason(error))
            return
        if stat.S_ISDIR(status.st_mode):
            yield from self._walk(Path(entry.path), f"{name}/", above)
        elif stat.S_ISREG(status.st_mode):
            yield LocalFile(Path(entry.path), name, status.st_size)
        else:
            self.refuse(name, "no file: a device, pipe or socket")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
