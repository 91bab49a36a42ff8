"""Files that appear whole and together, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BUFFER_BYTES = 1 << 20
_BYTES_ON_THEIR_WAY = 8 << 20


@contextmanager
def new_files(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Open files to write that take the places of `paths` at the end, in that order; none does if anything is raised.

    Until then they have no name where the file system can do that (Linux's `O_TMPFILE`), and so leave nothing behind
    however the process ends; else their names begin with a dot and end in `.part`. Contents are on the disk before
    the first name is given. Of several files, those that stood in the places of all but the first are removed before
    the first is replaced: there is no moment at which a new file stands beside an old one. Raises OSError.
    """
    targets = [path.resolve() for path in paths]
    with ExitStack() as stack:
        files = [stack.enter_context(_NewFile(target)) for target in targets]
        yield [file.stream for file in files]
        for file in files:
            file.finish()
        for target in targets[1:]:
            target.unlink(missing_ok=True)
        for file in files:
            file.take_place()
        for folder in {target.parent for target in targets}:
            _sync_folder(folder)


class _EagerFile(FileIO):
    """Sends what is written on its way to the disk at once, so that little is left to wait for at the end."""

    _sent = 0
    _written = 0

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, and start the disk on every few megabytes."""
        written = super().write(data)
        self._written += written
        if self._written - self._sent >= _BYTES_ON_THEIR_WAY and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), self._sent, self._written - self._sent, os.POSIX_FADV_DONTNEED)
            self._sent = self._written
        return written


class _NewFile:
    def __init__(self, target: Path) -> None:
        self._target = target
        self._name: Path | None = None
        self._is_in_place = False
        self.stream = self._open()

    def __enter__(self) -> _NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._is_in_place:
                self.stream.close()
            else:
                self.stream.raw.close()  # what the buffer still holds is wanted by nobody
        finally:
            if self._name is not None and not self._is_in_place:
                self._name.unlink(missing_ok=True)

    def finish(self) -> None:
        """Bring all bytes to the disk, and have a name to rename."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        if self._name is None:
            self._name = self._new_name()
            own_files = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
            try:  # without a folder's descriptor, os.link would link the link in /proc
                os.link(str(self.stream.fileno()), self._name, src_dir_fd=own_files)
            finally:
                os.close(own_files)

    def take_place(self) -> None:
        """Be what the target's name means from now on."""
        if self._name is not None:
            self._name.replace(self._target)
            self._is_in_place = True

    def _open(self) -> BufferedWriter:
        descriptor = self._open_unnamed()
        if descriptor is None:
            self._name = self._new_name()
            descriptor = os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        return BufferedWriter(_EagerFile(descriptor, "wb"), BUFFER_BYTES)

    def _open_unnamed(self) -> int | None:
        if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
            return None
        try:
            return os.open(self._target.parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:  # a file system without unnamed files, such as NFS
            return None

    def _new_name(self) -> Path:
        return self._target.with_name(f".{self._target.name[:200]}.{os.urandom(6).hex()}.part")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
