r"""The files of MXNet's im2rec: RecordIO with its images and index (`.rec`, `.idx`), and lists (`.lst`).

A record is written, read and, if it is damaged, reported with its byte. A line of a list is
`index \t labels ... \t path`: `line_fields` and `label_number` say what a line and a label are. im2rec packs such
lists, and a dataset reads them as label tables (include.datasets), each with demands of its own.

Sources: dmlc-core `include/dmlc/recordio.h` and `src/recordio.cc`; MXNet 1.9.1 `python/mxnet/recordio.py`, and
`read_list` in its `tools/im2rec.py`, which skips every line it cannot read.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

MAGIC = b"\x0a\x23\xd7\xce"
MAX_LENGTH = (1 << 29) - 1
"""Longest part of a record in bytes: the length has 29 bits, the part's place has three."""

MOST_LABELS = 100_000
"""Labels of a record beyond which its header is not a header."""

WHOLE, FIRST, MIDDLE, LAST = range(4)

_HEADER = struct.Struct("<IfQQ")
_FRAME = struct.Struct("<4sI")
FRAME_SIZE = _FRAME.size


class RecordError(ValueError):
    """Bytes that are not RecordIO, or a payload that RecordIO cannot hold."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image in a record: its labels, its id, and the encoded image."""

    labels: tuple[float, ...]
    id: int
    image: bytes
    id2: int = 0


def encode_image_record(labels: Sequence[float], record_id: int, image: bytes, *, id2: int = 0) -> bytes:
    """Lay out header, labels and image as a record's payload.

    One label stands in the header itself (flag 0); several follow it as float32 (flag = their number).
    """
    if not labels:
        raise RecordError(f"record {record_id} has no label: a packed image needs at least one")
    if len(labels) == 1:
        return _HEADER.pack(0, labels[0], record_id, id2) + image
    head = _HEADER.pack(len(labels), 0.0, record_id, id2)
    return b"".join((head, struct.pack(f"<{len(labels)}f", *labels), image))


def decode_image_record(payload: bytes) -> ImageRecord:
    """Read header, labels and image out of a record's payload. Raises RecordError where it cannot hold them."""
    if len(payload) < _HEADER.size:
        raise RecordError(f"an image record of {len(payload)} bytes is shorter than its header of {_HEADER.size}")
    flag, label, record_id, id2 = _HEADER.unpack_from(payload)
    if flag == 0:
        return ImageRecord((label,), record_id, payload[_HEADER.size :], id2)
    start = _HEADER.size + 4 * flag
    if flag > MOST_LABELS:
        raise RecordError(f"it announces {flag} labels, at most {MOST_LABELS} are read")
    if len(payload) < start:
        raise RecordError(f"it announces {flag} labels in {len(payload)} bytes")
    return ImageRecord(struct.unpack_from(f"<{flag}f", payload, _HEADER.size), record_id, payload[start:], id2)


def encode_record(payload: bytes) -> bytes:
    """Frame a payload, split where the magic stands at one of its 4-aligned offsets.

    Raises RecordError for a payload of 2^29 bytes or more, which MXNet's own writer cannot write either.
    """
    if len(payload) > MAX_LENGTH:
        raise RecordError(f"a record of {len(payload)} bytes is over RecordIO's limit of {MAX_LENGTH}")
    parts = _split_at_magics(payload)
    if len(parts) == 1:
        return b"".join((_FRAME.pack(MAGIC, len(payload)), payload, _padding(len(payload))))
    framed: list[bytes] = []
    for place, part in enumerate(parts):
        flag = FIRST if place == 0 else LAST if place == len(parts) - 1 else MIDDLE
        framed += (_FRAME.pack(MAGIC, flag << 29 | len(part)), part, _padding(len(part)))
    return b"".join(framed)


def decode_frame(frame: bytes) -> tuple[int, int]:
    """Read the flag and the length in bytes out of a part's eight-byte frame. Raises RecordError without the magic."""
    magic, flag_and_length = _FRAME.unpack(frame)
    if magic != MAGIC:
        raise RecordError(f"expected the magic {MAGIC.hex()}, found {magic.hex()}")
    return flag_and_length >> 29, flag_and_length & MAX_LENGTH


def _split_at_magics(payload: bytes) -> list[bytes]:
    parts: list[bytes] = []
    start = 0
    found = payload.find(MAGIC)
    while found >= 0:
        if found % 4 == 0:
            parts.append(payload[start:found])
            start = found + 4
            found = payload.find(MAGIC, start)
        else:
            found = payload.find(MAGIC, found + 1)
    parts.append(payload[start:])
    return parts


def _padding(length: int) -> bytes:
    return bytes(-length % 4)


class BinarySink(Protocol):
    """Whatever takes bytes in order: a file, a BytesIO, an upload."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class RecordWriter:
    """Appends records to a binary sink and knows where each one begins.

    `index` takes the lines of the `.idx`; the sinks stay open and belong to the caller.
    """

    def __init__(self, records: BinarySink, index: BinarySink | None = None) -> None:
        self._records = records
        self._index = index
        self.offset = 0
        """Bytes written so far: where the next record begins."""
        self.count = 0

    def write(self, record_id: int, payload: bytes) -> int:
        """Append one record and return its byte offset. Raises RecordError for a payload of 2^29 bytes or more."""
        return self.write_framed(record_id, encode_record(payload))

    def write_framed(self, record_id: int, framed: bytes) -> int:
        """Append a record that `encode_record` framed, in another thread perhaps, and return its byte offset."""
        offset = self.offset
        self._records.write(framed)
        if self._index is not None:
            self._index.write(index_line(record_id, offset))
        self.offset += len(framed)
        self.count += 1
        return offset


def index_line(record_id: int, offset: int) -> bytes:
    r"""A line of an `.idx` file: `id \t byte offset \n`."""
    return b"%d\t%d\n" % (record_id, offset)


class BinarySource(Protocol):
    """Whatever gives bytes in order: a file, a BytesIO, the body of an S3 object."""

    def read(self, amount: int, /) -> bytes:
        """Give at most `amount` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record's payload and the byte at which the record begins."""

    offset: int
    payload: bytes


class DamagedRecordError(RecordError):
    """RecordIO that cannot be read on: `offset` is the first byte of the damaged part."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"RecordIO is damaged at byte {offset}: {reason}")
        self.offset = offset


def read_records(source: BinarySource | bytes) -> Iterator[Record]:
    """The records of a stream in order, one in memory at a time. Raises DamagedRecordError."""
    stream = _CountingStream(io.BytesIO(source) if isinstance(source, bytes) else source)
    while True:
        start = stream.offset
        part = _read_part(stream)
        if part is None:
            return
        flag, data = part
        if flag == WHOLE:
            yield Record(start, data)
        elif flag == FIRST:
            yield Record(start, _read_rest(stream, start, data))
        else:
            raise DamagedRecordError(start, "a record begins with the middle or the end of another")


def _read_rest(stream: _CountingStream, start: int, first: bytes) -> bytes:
    parts = [first]
    length = len(first)
    while True:
        offset = stream.offset
        part = _read_part(stream)
        if part is None:
            raise DamagedRecordError(offset, f"the file ends inside the record that began at byte {start}")
        flag, data = part
        if flag not in (MIDDLE, LAST):
            raise DamagedRecordError(offset, f"a new record begins inside the one that began at byte {start}")
        parts.append(data)
        length += len(MAGIC) + len(data)
        if length > MAX_LENGTH:
            raise DamagedRecordError(start, f"the parts of a record have more than {MAX_LENGTH} bytes")
        if flag == LAST:
            return MAGIC.join(parts)


def _read_part(stream: _CountingStream) -> tuple[int, bytes] | None:
    start = stream.offset
    frame = stream.take(FRAME_SIZE)
    if not frame:
        return None
    if len(frame) < FRAME_SIZE:
        raise DamagedRecordError(start, f"the file ends {FRAME_SIZE - len(frame)} bytes before the frame does")
    try:
        flag, length = decode_frame(frame)
    except RecordError as error:
        raise DamagedRecordError(start, str(error)) from None
    data = stream.take(length + -length % 4)
    if len(data) < length + -length % 4:
        raise DamagedRecordError(start, f"the file ends after {len(data)} of the record's {length} bytes and padding")
    return flag, data[:length] if length % 4 else data


class _CountingStream:
    """Reads exactly as much as asked where the source gives less at a time, and counts."""

    def __init__(self, source: BinarySource) -> None:
        self._source = source
        self.offset = 0

    def take(self, amount: int) -> bytes:
        data = self._source.read(amount) if amount else b""
        if len(data) < amount:
            data = self._take_on(data, amount)
        self.offset += len(data)
        return data

    def _take_on(self, data: bytes, amount: int) -> bytes:
        pieces = [data]
        missing = amount - len(data)
        while missing and pieces[-1]:
            pieces.append(self._source.read(missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)


LEAST_FIELDS = 3
_LARGEST_ID = (1 << 64) - 1
_LARGEST_LABEL = 3.4028234663852886e38
_IDS_IN_BITS = 1 << 28


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A line of a list: the image's id, its labels, and its path below the root."""

    line: int
    id: int
    labels: tuple[float, ...]
    path: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that names no image: its number, and why."""

    line: int
    reason: str


def read_list(path: Path, *, same_width: bool = False) -> Iterator[ListedImage | BadLine]:
    """The lines of a list in order, blank ones left out.

    With `same_width` a line with more or fewer labels than the first one is bad: MXNet reads one width from a file.
    """
    width = 0
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            listed = _parse_line(number, text)
            if isinstance(listed, ListedImage) and same_width:
                width = width or len(listed.labels)
                if len(listed.labels) != width:
                    listed = BadLine(number, f"{len(listed.labels)} labels, the lines before have {width}")
            yield listed


@dataclass(slots=True)
class ListSurvey:
    """What a list holds: its images, its bad lines, and whatever of it is lost without a word when it is packed."""

    images: int = 0
    bad: list[BadLine] = field(default_factory=list)
    most_labels: int = 0
    repeated_ids: int = 0
    first_repeated: ListedImage | None = None


def survey_list(path: Path, *, same_width: bool) -> ListSurvey:
    """Read a list once, before hours are spent on its images. Raises OSError."""
    survey, seen = ListSurvey(), SeenIds()
    for listed in read_list(path, same_width=same_width):
        if isinstance(listed, BadLine):
            survey.bad.append(listed)
            continue
        survey.images += 1
        survey.most_labels = max(survey.most_labels, len(listed.labels))
        if not seen.add(listed.id):
            survey.repeated_ids += 1
            survey.first_repeated = survey.first_repeated or listed
    return survey


def listed_images(path: Path, *, same_width: bool) -> Iterator[ListedImage]:
    """The images of a list, its bad lines left out. Raises OSError."""
    return (listed for listed in read_list(path, same_width=same_width) if isinstance(listed, ListedImage))


def lists_of(prefix: Path) -> list[Path]:
    """The lists that a prefix stands for, in order.

    Those are `PREFIX.lst` and what `--list` makes of the prefix: `_0`, `_1` ... for chunks, then `_train`,
    `_val`, `_test`. Of a folder, all its lists; a file that ends in `.lst` stands for itself.
    """
    if prefix.is_dir():
        inside = sorted(path for path in prefix.iterdir() if path.name.endswith(".lst") and path.is_file())
        if inside:
            return inside
    if prefix.name.endswith(".lst") and prefix.is_file():
        return [prefix]
    ours = re.compile(re.escape(prefix.name) + r"(_\d+)?(_(train|val|test))?\.lst")
    return [path for path in lists_like(prefix) if ours.fullmatch(path.name)]


def lists_like(prefix: Path) -> list[Path]:
    """Every list whose name begins with the prefix's: all those that `im2rec.py` would pack."""
    if not prefix.parent.is_dir():
        return []
    names = (path for path in prefix.parent.iterdir() if path.name.startswith(prefix.name))
    return sorted(path for path in names if path.name.endswith(".lst") and path.is_file())


class SeenIds:
    """The ids that were seen, a bit for each of those that lists usually have."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._others: set[int] = set()

    def add(self, number: int) -> bool:
        """Remember an id; whether it is new."""
        if number >= _IDS_IN_BITS:
            is_new = number not in self._others
            self._others.add(number)
            return is_new
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits) + min(len(self._bits), 1 << 20)))
        is_new = not self._bits[place] & bit
        self._bits[place] |= bit
        return is_new


def line_fields(text: str) -> list[str]:
    """The fields of a line without the blanks around them: the index, the labels, the path. A list needs three."""
    return [field.strip() for field in text.strip().split("\t")]


def label_number(field: str) -> float | None:
    """The number of a label; None if it is not a finite number of 32 bits."""
    try:
        label = float(field)
    except ValueError:
        return None
    return label if math.isfinite(label) and abs(label) <= _LARGEST_LABEL else None


def _parse_line(number: int, text: str) -> ListedImage | BadLine:
    fields = line_fields(text)
    if len(fields) < LEAST_FIELDS:
        return BadLine(
            number, f"{len(fields)} field(s) between tabs; an index, one label or more, and a path are needed"
        )
    try:
        record_id = int(fields[0])
    except ValueError:
        return BadLine(number, f"the index {fields[0]!r} is not a whole number")
    if not 0 <= record_id <= _LARGEST_ID:
        return BadLine(number, f"the index {record_id} is not between 0 and 2^64 - 1")
    labels = []
    for text_label in fields[1:-1]:
        label = label_number(text_label)
        if label is None:
            return BadLine(number, f"the label {text_label!r} is not a finite number of 32 bits")
        labels.append(label)
    return ListedImage(number, record_id, tuple(labels), fields[-1])
