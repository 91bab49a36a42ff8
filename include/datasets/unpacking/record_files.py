"""Unpack a finished `.rec` file: every record is checked, its image becomes an object, its labels a table's row."""

from __future__ import annotations

import io
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.datasets.errors import DatasetError
from include.datasets.layout import Split, UnpackedRecords
from include.datasets.objects import ObjectWriter
from include.recordio.format import (
    BinarySink,
    BinarySource,
    DamagedRecordError,
    ImageRecord,
    Record,
    RecordError,
    decode_image_record,
    read_records,
)
from include.recordio.images import ImageError, accept_image, readable_size
from include.recordio.options import DecodingMemory, decoding_bytes

log = logging.getLogger(__name__)

IMAGES_IN_FLIGHT = 64
BYTES_IN_FLIGHT = 64 << 20
IMAGELESS = "imageless"
SHOWN = 5
"""Records left out that the log names."""
LARGEST_INDEX = 1 << 24
"""float32 holds whole numbers exactly up to here."""
ENDINGS = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"BM": "bmp", b"II*\0": "tif", b"MM\0*": "tif"}


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    offset: int
    record: ImageRecord


class RecordsUnpacker:
    """Writes the image of each record under `prefix` and keeps its labels for `table`.

    `names` are the classes in the order of their index, none where their indices are their names. A record of a
    header and no image, as the files of face data sets have them, is left out: `left_out` takes a JSON line for each.
    `step` is called for every record.
    """

    def __init__(
        self,
        writer: ObjectWriter,
        prefix: str,
        names: Sequence[str],
        left_out: BinarySink | None = None,
        *,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._list = left_out
        self._prefix = prefix
        self._names = list(names)
        self._step = step
        self._width = 0
        self._shown = ""
        self._numbers: list[str] = []
        self.left_out: Counter[str] = Counter()
        """Records that gave no object, by status."""
        self._indices: list[list[int]] = []

    def unpack(self, source: BinarySource, shown: str) -> None:
        """Read the file to its end. Raises DatasetError that names `shown` and the first bad byte."""
        self._shown = shown
        cv2.setNumThreads(1)  # the images are the parallel work
        with _named(shown):
            for numbered in self._decodable(self._records(source)):
                key = f"{self._prefix}{numbered.number:08d}-{numbered.record.id}.{_ending(numbered.record.image)}"
                self._writer.put(key, numbered.record.image)
                self._numbers.append(key)
                self._step()
        if self.left_out:
            log.warning("%s: left out %s", shown, dict(self.left_out))
        if not self._numbers:
            if headers := self.left_out[IMAGELESS]:
                raise DatasetError(
                    f"dataset.source = {shown} has no image: its {headers} records have only a header; pack it again"
                )
            raise DatasetError(f"dataset.source = {shown} has no records: pack it again")

    def summary(self, split: Split | None) -> UnpackedRecords:
        """What the file reports about its labels."""
        present = sorted({index for indices in self._indices for index in indices})
        classes = range(self._width) if self._width > 1 else present
        return UnpackedRecords(
            label_width=self._width,
            classes=self._names or [str(index) for index in classes],
            names=self._names,
            split=split,
        )

    def table(self, bucket: str, split: Split | None) -> pa.Table:
        """The label table: `path`, `label`, `index`, and `split` if the file is that of a split."""
        names = self._names or None
        columns: dict[str, Any] = {"path": pa.array([f"s3://{bucket}/{key}" for key in self._numbers])}
        columns["index"] = pa.array(self._indices, pa.list_(pa.int32()))
        if split is not None:
            columns["split"] = pa.array([split] * len(self._numbers))
        return with_names(pa.table(columns), names)

    def _records(self, source: BinarySource) -> Iterator[_Numbered]:
        for number, framed in enumerate(read_records(source)):
            record = _image_record(number, framed)
            if not record.image:
                self._leave_out(number, record)
                continue
            if self._width and len(record.labels) != self._width:
                raise DamagedRecordError(
                    framed.offset,
                    f"{_name(number, record)} has {len(record.labels)} labels, those before it {self._width}: all "
                    "records of a file must have the same number",
                )
            self._width = len(record.labels)
            self._indices.append(self._classes(number, framed, record))
            yield _Numbered(number, framed.offset, record)

    def _leave_out(self, number: int, record: ImageRecord) -> None:
        count = len(record.labels)
        reason = f"it has {count} label{'s' * (count > 1)} and no image"
        self.left_out[IMAGELESS] += 1
        if self.left_out[IMAGELESS] <= SHOWN:
            log.info("Left out %s: %s", _name(number, record), reason)
        if self._list is not None:
            line = {"path": _name(number, record), "status": IMAGELESS, "reason": reason}
            self._list.write(json.dumps(line).encode() + b"\n")
        self._step()

    def _classes(self, number: int, framed: Record, record: ImageRecord) -> list[int]:
        labels = record.labels
        if len(labels) > 1:
            wrong = next((label for label in labels if label not in (0.0, 1.0)), None)
            indices = [index for index, label in enumerate(labels) if label == 1.0]
            what = "a label that is neither 0 nor 1"
        else:
            wrong = next((label for label in labels if not 0 <= label <= LARGEST_INDEX or label % 1), None)
            indices = [] if wrong is not None else [int(labels[0])]
            what = "a label that is not a class index"
        if wrong is not None:
            raise DamagedRecordError(framed.offset, f"{_name(number, record)} has {what}: {wrong!r}")
        known = len(self._names)
        if known and (len(labels) != known if len(labels) > 1 else indices[0] >= known):
            has = f"{len(labels)} labels" if len(labels) > 1 else f"the class index {indices[0]}"
            raise DatasetError(
                f"dataset.source = {self._shown}: {_name(number, record)} has {has}, but {known} classes are named: "
                "name all in the order of their index in dataset.labels or dataset.labels_file, or none"
            )
        return indices

    def _decodable(self, records: Iterator[_Numbered]) -> Iterator[_Numbered]:
        """Give the records back in order, their images decoded on every core on the way."""
        pending: deque[tuple[_Numbered, Future[tuple[int, int]]]] = deque()
        waiting = 0
        memory = DecodingMemory()
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            try:
                for numbered in records:
                    waiting += len(numbered.record.image)
                    pending.append((numbered, pool.submit(_measure, numbered.record.image, memory)))
                    while len(pending) > IMAGES_IN_FLIGHT or (waiting > BYTES_IN_FLIGHT and pending):
                        yield (first := _first_checked(pending))
                        waiting -= len(first.record.image)
                while pending:
                    yield _first_checked(pending)
            except RecordError:
                while pending:  # an image before the damage is the first bad byte
                    _first_checked(pending)
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def with_names(table: pa.Table, names: Sequence[str] | None) -> pa.Table:
    """Give a table of `index` lists its column `label`: the names at these places, or the indices themselves."""
    indices: Any = table.column("index").combine_chunks()
    flat = indices.flatten()
    labels = pc.cast(flat, pa.string()) if not names else pc.take(pa.array(list(names), pa.string()), flat)
    column = pa.ListArray.from_arrays(indices.offsets, labels)
    if "label" in table.column_names:
        table = table.drop_columns(["label"])
    return table.append_column("label", column)


def parquet(table: pa.Table) -> bytes:
    """Lay a table out as a Parquet document."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@contextmanager
def _named(shown: str) -> Iterator[None]:
    try:
        yield
    except DamagedRecordError as error:
        raise DatasetError(
            f"dataset.source = {shown}: {error}: pack it again (python -m im2rec), or leave the file "
            "out; nothing is made of part of a file"
        ) from error


def _image_record(number: int, framed: Record) -> ImageRecord:
    try:
        return decode_image_record(framed.payload)
    except RecordError as error:
        raise DamagedRecordError(framed.offset, f"record {number} has no image: {error}") from error


def _measure(image: bytes, memory: DecodingMemory) -> tuple[int, int]:
    with memory.take(decoding_bytes(accept_image(image))):
        return readable_size(image)


def _first_checked(pending: deque[tuple[_Numbered, Future[tuple[int, int]]]]) -> _Numbered:
    numbered, check = pending.popleft()
    try:
        check.result()
    except ImageError as error:
        name = _name(numbered.number, numbered.record)
        raise DamagedRecordError(numbered.offset, f"the image of {name} is {error.status}: {error.reason}") from error
    return numbered


def _name(number: int, record: ImageRecord) -> str:
    return f"record {number} (id {record.id})"


def _ending(image: bytes) -> str:
    return next((ending for magic, ending in ENDINGS.items() if image.startswith(magic)), "img")
