"""Pack the images of a list into a `.rec` and its `.idx`, byte for byte those of MXNet 1.9.1's `im2rec.py`."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import cv2

from im2rec import FAILED, WRITTEN, WRITTEN_IN_PART, Say
from im2rec.in_order import InOrder
from im2rec.new_files import new_files
from include.recordio.format import (
    MAX_LENGTH,
    ListedImage,
    ListSurvey,
    RecordError,
    RecordWriter,
    encode_image_record,
    encode_record,
    listed_images,
    survey_list,
)
from include.recordio.header import JPEG_END, MXNET_STARTS, is_truncated_jpeg
from include.recordio.images import ImageError, pack_image
from include.recordio.options import ImageOptions

MOST_BAD = 1000
"""After this many bad images the root is likelier to be wrong than each of them."""
_READ_AT_ONCE = 1 << 30
_READ_AHEAD = 16
_MEGABYTE = 1_000_000


def pack_one_list(path: Path, parsed: argparse.Namespace, say: Say) -> int:
    """Pack a list into the `.rec` and `.idx` beside it and return the exit status it earns."""
    cv2.setNumThreads(1)
    progress = None
    try:
        survey = survey_list(path, same_width=parsed.pack_label)
        _tell(path, survey, parsed, say)
        if survey.images:
            stream = None if parsed.silent else sys.stderr
            progress = Progress(path.name, survey.images, stream)
            return _pack(path, survey, parsed, progress, say)
        reason = "it names no image"
    except _NothingWrittenError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename or path.with_suffix('.rec')}: {error.strerror}"
    finally:
        if progress is not None:
            progress.clear()
    stands = "; the one that was there stays" if path.with_suffix(".rec").exists() else ""
    say(f"{path}: {reason}: no {path.with_suffix('.rec').name} is written{stands}")
    return FAILED


class _NothingWrittenError(Exception):
    """Ends the writing of files that shall not appear."""


def _pack(path: Path, survey: ListSurvey, parsed: argparse.Namespace, progress: Progress, say: Say) -> int:
    def report(line: int, reason: str) -> None:
        progress.clear()
        say(f"{path}:{line}: {reason}")

    packer = ListPacker(
        listed_images(path, same_width=parsed.pack_label),
        Path(parsed.root),
        image_options(parsed),
        pack_label=parsed.pack_label,
        report=report,
        write=parsed.skip_bad or not survey.bad,
        skip_bad=parsed.skip_bad,
    )
    with new_files([path.with_suffix(".rec"), path.with_suffix(".idx")]) as (records, index):
        try:
            counts = packer.pack(records, index, threads=max(parsed.num_thread, 1), progress=progress)
        except TooManyBadError:
            raise _NothingWrittenError(
                f"{MOST_BAD:,} of its first {progress.images:,} images are bad, the others were not read; is "
                f"{parsed.root} the root of its paths?"
            ) from None
        bad = counts.bad + len(survey.bad)
        if bad and not (parsed.skip_bad and counts.packed):
            raise _NothingWrittenError(f"{bad:,} of its {survey.images + len(survey.bad):,} lines are bad")
    progress.clear()
    if bad or not parsed.silent:
        _tell_end(path, counts, bad, progress, say)
    return WRITTEN_IN_PART if bad else WRITTEN


def image_options(parsed: argparse.Namespace) -> ImageOptions:
    """The packing options of a command line."""
    return ImageOptions(
        resize=parsed.resize,
        center_crop=parsed.center_crop,
        quality=parsed.quality,
        color=parsed.color,
        encoding=parsed.encoding,
        pass_through=parsed.pass_through,
    )


def _tell(path: Path, survey: ListSurvey, parsed: argparse.Namespace, say: Say) -> None:
    """Report bad lines, and what im2rec.py drops or hides without a word."""
    for line in survey.bad:
        say(f"{path}:{line.line}: {line.reason}")
    if survey.most_labels > 1 and not parsed.pack_label:
        say(f"{path}: up to {survey.most_labels} labels a line, of which the first is packed; --pack-label packs all")
    if survey.first_repeated is not None:
        first = survey.first_repeated
        say(
            f"{path}:{first.line}: the index {first.id} stands in a line before ({survey.repeated_ids:,} such lines): "
            "all are packed, but whoever looks a record up by its index finds the last one only"
        )
    if parsed.pass_through and (parsed.resize or parsed.center_crop):
        say("--pass-through packs files as they are: --resize and --center-crop change nothing")


def _tell_end(path: Path, counts: PackingCounts, bad: int, progress: Progress, say: Say) -> None:
    looks = f", {counts.remarked:,} of them named above" if counts.remarked else ""
    skipped = f"; {bad:,} bad lines left out" if bad else ""
    say(
        f"{path.with_suffix('.rec')}: {counts.packed:,} images{looks}, {counts.written_bytes / 1e6:,.1f} MB{skipped}; "
        f"{progress.seconds():.1f} s, {progress.rates()}"
    )


@dataclass(frozen=True, slots=True)
class PackedLine:
    """A line's record as it stands in the `.rec`; empty where `fault` says why there is none.

    `remark` is what a person should know about an image that was still packed.
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

    `report` receives the line and the reason of each image that is bad, or that was packed and calls for a look. With
    `write` false the images are checked and nothing is written; after a bad one that is so too unless `skip_bad`,
    so that one run names them all, but no more than `most_bad`.
    """

    def __init__(
        self,
        images: Iterable[ListedImage],
        root: Path,
        options: ImageOptions,
        *,
        pack_label: bool,
        report: Callable[[int, str], None],
        write: bool = True,
        skip_bad: bool = False,
        most_bad: int = MOST_BAD,
    ) -> None:
        self._images = images
        self._root = str(root)
        self._options = options
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
        """The images, each once the disk has begun to read the next ones."""
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
            source = _read_file(path, MAX_LENGTH if self._options.pass_through else None)
            packed = pack_image(source, self._options)
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
            return "packed, but the JPEG ends early"
        if self._options.pass_through and not source.startswith(MXNET_STARTS):
            return "packed, but it is neither JPEG, PNG, BMP nor TIFF: MXNet cannot read it"
        return ""


def _announce(path: str) -> None:
    """Let a disk that is slower than the processors begin to read a file; whoever reads it reports what is wrong."""
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
    if "\0" in path:
        raise ImageError("missing", "embedded null byte")  # each Python words it in another way
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would wait for ever
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("missing", "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a file")
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


class Progress:
    """Counts images and bytes and reports them: a line that changes on a terminal, a line now and then elsewhere.

    Without a stream it only counts. Seconds between lines: 0.5 on a terminal, 10 elsewhere.
    """

    def __init__(
        self, name: str, total: int, stream: TextIO | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._total = total
        self._stream = stream
        self._is_live = stream is not None and stream.isatty()
        self._clock = clock
        self._begun = clock()
        self._told = self._begun
        self._has_line = False
        self.images = 0
        self.read_bytes = 0

    def count(self, read_bytes: int) -> None:
        """Count an image of this many bytes."""
        self.images += 1
        self.read_bytes += read_bytes

    def tick(self) -> None:
        """Show the progress if it is time to."""
        now = self._clock()
        if self._stream is None or now - self._told < (0.5 if self._is_live else 10):
            return
        self._told = now
        line = f"{self._name}: {self.images:,} of {self._total:,} images, {self.rates(now)}, {self._left(now)} left"
        self._stream.write(f"\r\x1b[K{line}" if self._is_live else f"{line}\n")
        self._stream.flush()
        self._has_line = self._is_live

    def clear(self) -> None:
        """Take the changing line away, so that another line can stand there."""
        if self._has_line and self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._has_line = False

    def rates(self, now: float | None = None) -> str:
        """Images and megabytes read a second since the beginning."""
        seconds = max((self._clock() if now is None else now) - self._begun, 1e-6)
        return f"{self.images / seconds:,.0f} images/s, {self.read_bytes / seconds / _MEGABYTE:,.1f} MB/s read"

    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begun

    def _left(self, now: float) -> str:
        if not self.images:
            return "unknown time"
        seconds = round((now - self._begun) / self.images * max(self._total - self.images, 0))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
