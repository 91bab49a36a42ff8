r"""Read a `.rec` from end to end, count what it holds, and check its `.idx` (`key \t byte offset \n`) against it."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from include.recordio.file_parts import HeaderError
from include.recordio.format import (
    BinarySource,
    DamagedRecordError,
    ImageRecord,
    Record,
    RecordError,
    SeenIds,
    decode_image_record,
    read_records,
)
from include.recordio.header import format_of, is_truncated_jpeg, read_header
from include.recordio.images import ImageError, decode_image

_MOST_FAULTS = 10
_MOST_LABELS = 10_000
_MOST_AT_PLACES = 100_000
_COLOR = 1
_READ_BY_MXNET = frozenset({"JPEG", "PNG", "BMP", "TIFF"})
_NUMBER = re.compile(rb"0*[0-9]{1,19}")
"""A number that 64 bits hold."""


@dataclass(slots=True)
class Range:
    """Smallest, mean and largest of some numbers."""

    count: int = 0
    smallest: int = 0
    largest: int = 0
    total: int = 0

    def add(self, number: int) -> None:
        """Count a number."""
        self.smallest = min(self.smallest, number) if self.count else number
        self.largest = max(self.largest, number)
        self.count += 1
        self.total += number

    @property
    def mean(self) -> float:
        """Mean of all; 0 of none."""
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class IndexCheck:
    """What an index holds, and the first things that are wrong with it.

    `foreign_keys` counts the lines whose key is not the id in the record: MXNet still reads such a file.
    """

    lines: int = 0
    foreign_keys: int = 0
    faults: list[str] = field(default_factory=list)

    def complain(self, fault: str) -> None:
        """Keep one of the first faults."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)


@dataclass(slots=True)
class Inspection:
    """What a file holds.

    `labels` counts the records of each label, a record with several once for each that differs;
    `labels_by_place` counts the records with several by each label at each place. Past 10,000 different labels,
    10,000 places or 100,000 different labels at all places no new ones are counted and `has_more_labels` is set.
    Widths and heights are in pixels, sizes in bytes. `damaged_at` is the first bad byte, with its reason in
    `damage`. `unreadable` counts records with an image that MXNet cannot read, `faults` holds the first of them.
    `imageless` counts records of a header and no image, whose labels are not counted; `imageless_at` holds the
    numbers, from 1, of the first that stand behind an image, where MXNet's reader ends.
    """

    name: str
    size: int = 0
    records: int = 0
    label_widths: Counter[int] = field(default_factory=Counter)
    labels: Counter[float] = field(default_factory=Counter)
    labels_by_place: list[Counter[float]] = field(default_factory=list)
    has_more_labels: bool = False
    repeated_ids: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    widths: Range = field(default_factory=Range)
    heights: Range = field(default_factory=Range)
    image_sizes: Range = field(default_factory=Range)
    truncated: int = 0
    imageless: int = 0
    imageless_at: list[int] = field(default_factory=list)
    unreadable: int = 0
    faults: list[str] = field(default_factory=list)
    damaged_at: int | None = None
    damage: str = ""
    index: IndexCheck | None = None

    @property
    def is_sound(self) -> bool:
        """Whether MXNet can train on all of it."""
        has_one_width = len(self.label_widths) <= 1
        index_is_sound = self.index is None or not self.index.faults
        return (
            self.records > self.imageless
            and self.damaged_at is None
            and not self.unreadable
            and not self.imageless_at
            and has_one_width
            and index_is_sound
        )


def inspect_records(
    name: str, source: BinarySource, index: Iterable[bytes] | None = None, *, decode: bool = False
) -> Inspection:
    """Read a file, and the lines of its index if there are any; with `decode` every image's pixels too."""
    found, seen = Inspection(name), SeenIds()
    offsets, ids = array("Q"), array("Q")
    try:
        for record in read_records(source):
            found.records += 1
            found.size = record.offset
            offsets.append(record.offset)
            ids.append(_count(found, record, seen, decode=decode))
    except DamagedRecordError as damage:
        found.damaged_at, found.damage = damage.offset, str(damage)
    if not found.records and found.damaged_at is None:
        found.faults.append("the file has no record")
    if index is not None:
        found.index = check_index(index, offsets, ids)
    return found


def check_index(lines: Iterable[bytes], offsets: Sequence[int], ids: Sequence[int]) -> IndexCheck:
    """Check the lines of an index against where the records of a file begin and the ids they hold, in order."""
    check = IndexCheck()
    ids_at = array("Q")
    found = array("Q")
    for number, line in enumerate(lines, start=1):
        key, tab, offset = line.rstrip(b"\r\n").partition(b"\t")
        if not (tab and _NUMBER.fullmatch(key.strip()) and _NUMBER.fullmatch(offset.strip())):
            check.complain(f"line {number}: {line[:60]!r} is not a key and byte offset")
            continue
        check.lines += 1
        ids_at.append(int(key.strip().lstrip(b"0") or 0))
        found.append(int(offset.strip().lstrip(b"0") or 0))
    _compare(check, ids_at, found, offsets, ids)
    return check


def _count(found: Inspection, record: Record, seen: SeenIds, *, decode: bool) -> int:
    try:
        packed = decode_image_record(record.payload)
    except RecordError as error:
        _complain(found, record, str(error))
        return 0
    found.repeated_ids += not seen.add(packed.id)
    if not packed.image:
        _count_imageless(found)
        return packed.id
    _count_labels(found, packed.labels)
    found.image_sizes.add(len(packed.image))
    reason = _count_image(found, packed, decode=decode)
    if reason is not None:
        _complain(found, record, f"id {packed.id}: {reason}")
    return packed.id


def _count_imageless(found: Inspection) -> None:
    # Every record before this one that has a width of labels has an image.
    if found.label_widths and len(found.imageless_at) < _MOST_FAULTS:
        found.imageless_at.append(found.records)
    found.imageless += 1


def _count_labels(found: Inspection, labels: tuple[float, ...]) -> None:
    found.label_widths[len(labels)] += 1
    for label in set(labels):
        _count_label(found, found.labels, label, _MOST_LABELS)
    if len(labels) == 1:
        return
    places = found.labels_by_place
    places += [Counter() for _ in range(min(len(labels), _MOST_LABELS) - len(places))]
    found.has_more_labels |= len(labels) > len(places)
    for counted, label in zip(places, labels, strict=False):
        _count_label(found, counted, label, _MOST_AT_PLACES // len(places))


def _count_label(found: Inspection, counted: Counter[float], label: float, most: int) -> None:
    if label in counted or len(counted) < most:
        counted[label] += 1
    else:
        found.has_more_labels = True


def _count_image(found: Inspection, packed: ImageRecord, *, decode: bool) -> str | None:
    """Count an image; return why it is none that can be read."""
    try:
        header = read_header(packed.image)
    except HeaderError as error:
        return f"{format_of(packed.image)} that cannot be decoded: {error}"
    if header is None:
        return f"{len(packed.image)} bytes that begin with {packed.image[:8].hex(' ') or 'nothing'}: no readable image"
    found.formats[header.format] += 1
    found.widths.add(header.width)
    found.heights.add(header.height)
    found.truncated += is_truncated_jpeg(packed.image)
    if header.format not in _READ_BY_MXNET:
        return f"MXNet's decoders read no {header.format}: it ends with this image"
    if decode:
        try:
            decode_image(packed.image, _COLOR)
        except ImageError as error:
            return error.reason
    return None


def _complain(found: Inspection, record: Record, reason: str) -> None:
    found.unreadable += 1
    if len(found.faults) < _MOST_FAULTS:
        found.faults.append(f"record {found.records} at byte {record.offset}: {reason}")


def _compare(
    check: IndexCheck, keys: Sequence[int], found: Sequence[int], offsets: Sequence[int], ids: Sequence[int]
) -> None:
    order = sorted(range(len(found)), key=found.__getitem__)
    place = 0
    for line in order:
        while place < len(offsets) and offsets[place] < found[line]:
            check.complain(f"the record at byte {offsets[place]} is not in it")
            place += 1
        if place == len(offsets) or offsets[place] != found[line]:
            check.complain(f"key {keys[line]}: no record begins at byte {found[line]}, or a key before leads there")
            continue
        check.foreign_keys += keys[line] != ids[place]
        place += 1
    if place < len(offsets):
        check.complain(f"{len(offsets) - place} records from byte {offsets[place]} on are not in it")
