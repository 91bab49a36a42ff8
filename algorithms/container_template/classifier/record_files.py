"""RecordIO, as MXNet's im2rec writes it: where the images of a `.rec` file lie, and their labels.

Source: dmlc-core `include/dmlc/recordio.h`; MXNet's `recordio.IRHeader` for the header of an image.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from .job_folders import JobError

MAGIC = struct.pack("<I", 0xCED7230A)
HEAD = struct.Struct("<4sI")
IMAGE_HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
"""What a part is of its record. A record is cut where its own bytes are MAGIC, which is left out there."""

Part = tuple[int, int]
"""First byte and length."""


class RecordFile:
    """A `.rec` file: the label of every record, and its image by number. Raises JobError for damaged bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
        self._records: list[list[Part]] = []
        self.labels: list[float] = []
        position = 0
        while position < len(self._bytes):
            parts, position = self._parts(position)
            self._records.append(parts)
            self.labels.append(self._label(len(self.labels)))

    def __len__(self) -> int:
        return len(self._records)

    def image(self, number: int) -> bytes:
        """The encoded image of a record."""
        payload = self._payload(number)
        labels, *_ = IMAGE_HEADER.unpack_from(payload)
        return payload[IMAGE_HEADER.size + 4 * int(labels) :]

    def _label(self, number: int) -> float:
        """The one label of a record: in its header, or behind it."""
        payload = self._payload(number)
        if len(payload) < IMAGE_HEADER.size:
            raise JobError(f"Record {number} of {self.path} has no image header: it was not written by im2rec.")
        count, label, *_ = IMAGE_HEADER.unpack_from(payload)
        if count > 1:
            raise JobError(
                f"Record {number} of {self.path} has {count} labels, and this algorithm learns one class of an image. "
                "Build the dataset without multi_label."
            )
        if count and len(payload) < IMAGE_HEADER.size + 4:
            raise JobError(f"Record {number} of {self.path} announces a label and is too short for it.")
        return float(struct.unpack_from("<f", payload, IMAGE_HEADER.size)[0] if count else label)

    def _payload(self, number: int) -> bytes:
        return MAGIC.join(self._bytes[start : start + length] for start, length in self._records[number])

    def _parts(self, position: int) -> tuple[list[Part], int]:
        """The parts of the record that begins at a byte, and where the next record begins."""
        kind, part, following = self._part(position)
        if kind not in (WHOLE, FIRST):
            raise self._damaged(position, "a record without a beginning")
        parts = [part]
        while kind not in (WHOLE, LAST):
            kind, part, following = self._part(following)
            if kind not in (MIDDLE, LAST):
                raise self._damaged(position, "a record without an end")
            parts.append(part)
        return parts, following

    def _part(self, position: int) -> tuple[int, Part, int]:
        start = position + HEAD.size
        if start > len(self._bytes):
            raise self._damaged(position, "the file ends")
        magic, word = HEAD.unpack_from(self._bytes, position)
        kind, length = word >> LENGTH_BITS, word & (1 << LENGTH_BITS) - 1
        if magic != MAGIC:
            raise self._damaged(position, "no record")
        if start + length > len(self._bytes):
            raise self._damaged(position, f"a record of {length} bytes that the file does not hold")
        return kind, (start, length), start + (length + 3) // 4 * 4

    def _damaged(self, position: int, found: str) -> JobError:
        return JobError(f"{self.path} is damaged: {found} at byte {position}. Upload the file again.")
