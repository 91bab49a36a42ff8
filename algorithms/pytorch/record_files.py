"""RecordIO without MXNet: where the records of a file begin, their labels, their images.

Source: dmlc-core `include/dmlc/recordio.h`; MXNet's `recordio.IRHeader` for the header of an image.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job_folders import JobError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
FRAME = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
LENGTH_MASK = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)

Labels = NDArray[np.float32]


class RecordFile:
    """A `.rec` file whose records are read by number, in any order, from any process.

    An `.idx` of the same name beside it says where the records begin, and the file is not read before an image is
    needed. Without one the file is scanned once, record head by record head.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes: memoryview | None = None
        self._labels: Labels | None = None
        index = path.with_suffix(".idx")
        if index.is_file():
            self.offsets = self._read_index(index)
        else:
            self.offsets, self._labels = self._scan()

    def __len__(self) -> int:
        return len(self.offsets)

    def __getstate__(self) -> dict[str, Any]:
        """A loader worker maps the file again."""
        return {**self.__dict__, "_bytes": None}

    def read(self, number: int) -> tuple[Labels, memoryview]:
        """Labels and encoded image of a record. Raises JobError for damaged bytes."""
        payload, _ = self._payload(int(self.offsets[number]))
        return self._split(payload, number)

    @property
    def labels(self) -> Labels:
        """The labels of all records, float32 (records, labels of a record). Raises JobError if their number differs."""
        if self._labels is None:
            self._labels = self._stack([self.read(number)[0] for number in range(len(self))])
        return self._labels

    @property
    def was_scanned(self) -> bool:
        """Whether every record's head was already read."""
        return self._labels is not None

    def _scan(self) -> tuple[NDArray[np.int64], Labels]:
        offsets: list[int] = []
        labels: list[Labels] = []
        for offset, payload in self._payloads():
            labels.append(self._split(payload, len(offsets))[0])
            offsets.append(offset)
        return np.array(offsets, dtype=np.int64), self._stack(labels)

    def _payloads(self) -> Iterator[tuple[int, memoryview]]:
        position, end = 0, len(self._map())
        while position < end:
            payload, following = self._payload(position)
            yield position, payload
            position = following

    def _read_index(self, index: Path) -> NDArray[np.int64]:
        try:
            offsets = np.array(index.read_text().split(), dtype=np.int64).reshape(-1, 2)[:, 1]
        except ValueError as error:
            raise JobError(
                f"{index} is not an index of records ({error}). Remove it: the file is then scanned."
            ) from error
        offsets.sort()
        if len(offsets) == 0 or offsets[0] != 0 or self._payload(int(offsets[-1]))[1] < len(self._map()):
            raise JobError(f"{index} does not belong to {self.path.name}. Remove it: the file is then scanned.")
        return offsets

    def _map(self) -> memoryview:
        if self._bytes is None:
            with self.path.open("rb") as stream:
                size = self.path.stat().st_size
                self._bytes = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        return self._bytes

    def _payload(self, position: int) -> tuple[memoryview, int]:
        """The record at a byte offset, joined again if the writer split it at a magic number; where the next begins."""
        kind, payload, following = self._frame(position)
        if kind == WHOLE:
            return payload, following
        if kind != FIRST:
            raise self._damaged(position, "a record without a beginning")
        parts = [payload]
        while kind != LAST:
            kind, part, following = self._frame(following)
            if kind not in (MIDDLE, LAST):
                raise self._damaged(position, "a record without an end")
            parts.append(part)
        return memoryview(MAGIC_BYTES.join(parts)), following

    def _frame(self, position: int) -> tuple[int, memoryview, int]:
        buffer = self._map()
        start = position + FRAME.size
        if start > len(buffer):
            raise self._damaged(position, "the file ends")
        magic, word = FRAME.unpack_from(buffer, position)
        if magic != MAGIC:
            raise self._damaged(position, "no record")
        length = word & LENGTH_MASK
        if start + length > len(buffer):
            raise self._damaged(position, f"a record of {length} bytes that the file does not hold")
        return word >> LENGTH_BITS, buffer[start : start + length], start + (length + 3) // 4 * 4

    def _split(self, payload: memoryview, number: int) -> tuple[Labels, memoryview]:
        if len(payload) < HEADER.size:
            raise JobError(f"Record {number} of {self.path} has no image header: it was not written by im2rec.")
        count, label, _, _ = HEADER.unpack_from(payload)
        if count == 0:
            return np.array([label], dtype=np.float32), payload[HEADER.size :]
        end = HEADER.size + 4 * count
        if end > len(payload):
            raise JobError(f"Record {number} of {self.path} announces {count} labels and is too short for them.")
        return np.frombuffer(payload[HEADER.size : end], dtype="<f4").astype(np.float32), payload[end:]

    def _stack(self, labels: list[Labels]) -> Labels:
        widths = sorted({len(row) for row in labels})
        if len(widths) > 1:
            raise JobError(f"The records of {self.path} have {widths[0]} to {widths[-1]} labels: all need as many.")
        return np.stack(labels) if labels else np.empty((0, 0), dtype=np.float32)

    def _damaged(self, position: int, found: str) -> JobError:
        return JobError(f"{self.path} is damaged: {found} at byte {position}. Upload the file again.")
