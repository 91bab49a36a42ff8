"""Pack the images of a list into a ``.rec`` and its ``.idx``, byte for byte those of MXNet 1.9.1's ``im2rec.py``."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from im2rec.in_order import InOrder
from im2rec.progress import Progress
from include.recordio.format import MAX_LENGTH, RecordError, encode_image_record, encode_record
from include.recordio.image_steps import ImageSteps
from include.recordio.images import JPEG_END, ImageError, is_truncated_jpeg, pack_image
from include.recordio.lists import ListedImage
from include.recordio.writer import RecordWriter

MOST_BAD = 1000
"""After so many bad images the root is likelier to be wrong than each of them."""

_READ_AT_ONCE = 1 << 30
_READ_AHEAD = 16
_STARTS_MXNET_READS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")


@dataclass(frozen=True, slots=True)
class PackedLine:
    """A line's record as it stands in the ``.rec``; empty where ``fault`` says why there is none.

    ``remark`` tells what a person should know of an image that was packed all the same.
    """

    image: ListedImage
    framed: bytes
    source_bytes: int
    fault: str = ""
    remark: str = ""

    @property
    def size(self) -> int:
        """Bytes it keeps in memory."""
        return len(self.framed)


@dataclass(frozen=True, slots=True)
class PackingCounts:
    """How many images were packed, how many of those call for a look, how many were bad; bytes of the records."""

    packed: int
    remarked: int
    bad: int
    written_bytes: int


class TooManyBadError(Exception):
    """So many images are bad that naming the others helps nobody."""


class ListPacker:
    """Packs the images of one list into two binary sinks.

    ``report`` is told the line and the reason of each image that is bad, or that was packed and calls for a look. With
    ``write`` false the images are looked at and nothing is written; after a bad one that is so too unless ``skip_bad``,
    so that one run names them all, but no more than ``most_bad``.
    """

    def __init__(
        self,
        images: Iterable[ListedImage],
        root: Path,
        steps: ImageSteps,
        *,
        pack_label: bool,
        report: Callable[[int, str], None],
        write: bool = True,
        skip_bad: bool = False,
        most_bad: int = MOST_BAD,
    ) -> None:
        self._images = images
        self._root = str(root)
        self._steps = steps
        self._pack_label = pack_label
        self._report = report
        self._write = write
        self._skip_bad = skip_bad
        self._most_bad = most_bad
        self._bad = self._remarked = 0

    def pack(self, records: BinaryIO, index: BinaryIO, *, threads: int, progress: Progress) -> PackingCounts:
        """Pack all images in the list's order. Raises OSError of the sinks, and TooManyBadError."""
        writer = RecordWriter(records, index)

        def deliver(line: PackedLine) -> None:
            progress.count(line.source_bytes)
            self._take(writer, line)

        InOrder(self._announced(), self._pack_line, deliver).run(threads, progress.tick)
        return PackingCounts(writer.count, self._remarked, self._bad, writer.offset)

    def _announced(self) -> Iterator[ListedImage]:
        """Iterate the images, each when the disk has been told of the next ones."""
        ahead: deque[ListedImage] = deque()
        for image in self._images:
            _announce(os.path.join(self._root, image.path))  # noqa: PTH118
            ahead.append(image)
            if len(ahead) > _READ_AHEAD:
                yield ahead.popleft()
        yield from ahead

    def _take(self, writer: RecordWriter, line: PackedLine) -> None:
        number, path = line.image.line, line.image.path
        if line.fault:
            self._bad += 1
            self._report(number, f"{path}: {line.fault}")
            if not self._skip_bad and self._bad >= self._most_bad:
                raise TooManyBadError
            return
        if line.remark:
            self._remarked += 1
            self._report(number, f"{path}: {line.remark}")
        if self._write and (self._skip_bad or not self._bad):
            writer.write_framed(line.image.id, line.framed)

    def _pack_line(self, image: ListedImage) -> PackedLine:
        try:
            path = os.path.join(self._root, image.path)  # noqa: PTH118 - a Path costs ten times as much
            source = _read_file(path, MAX_LENGTH if self._steps.pass_through else None)
            packed = pack_image(source, self._steps)
            labels = image.labels if self._pack_label else image.labels[:1]
            framed = encode_record(encode_image_record(labels, image.id, packed.data))
        except ImageError as error:
            return PackedLine(image, b"", 0, fault=error.reason)
        except RecordError as error:
            return PackedLine(image, b"", 0, fault=str(error))
        except (OSError, ValueError, MemoryError) as error:
            return PackedLine(image, b"", 0, fault=_reason(error))
        return PackedLine(image, framed, len(source), remark=self._remark(source))

    def _remark(self, source: bytes) -> str:
        if not source.endswith(JPEG_END) and is_truncated_jpeg(source):
            return "packed, but the JPEG stops early"
        if self._steps.pass_through and not source.startswith(_STARTS_MXNET_READS):
            return "packed, but it is neither JPEG, PNG, BMP nor TIFF: MXNet cannot read it"
        return ""


def _announce(path: str) -> None:
    """Let a disk that is slower than the processors begin to read a file; whoever reads it tells what is wrong."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    except OSError:  # a folder, a pipe
        pass
    finally:
        os.close(descriptor)


def _read_file(path: str, limit: int | None) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would wait for ever
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("missing", "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
        if limit is not None and status.st_size > limit:
            raise ImageError("too_large", f"its {status.st_size} bytes are over RecordIO's limit of {limit}")
        source = os.read(descriptor, min(status.st_size + 1, _READ_AT_ONCE))
        while len(source) < status.st_size and (more := os.read(descriptor, _READ_AT_ONCE)):
            source += more
    finally:
        os.close(descriptor)
    return source


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror}"
    if isinstance(error, MemoryError):
        return "there is not enough memory to pack it"
    return str(error)
