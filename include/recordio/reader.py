"""Read RecordIO from a stream or from memory, and say at which byte it is damaged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from include.recordio.format import FIRST, FRAME_SIZE, LAST, MAGIC, MAX_LENGTH, MIDDLE, WHOLE, RecordError, decode_frame


class BinarySource(Protocol):
    """Whatever gives bytes in order: a file, a BytesIO, the body of an S3 object."""

    def read(self, amount: int, /) -> bytes:
        """Give at most ``amount`` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record's payload and the byte at which the record begins."""

    offset: int
    payload: bytes


class DamagedRecordError(RecordError):
    """RecordIO that cannot be read on: ``offset`` is the first byte of the damaged part."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"RecordIO is damaged at byte {offset}: {reason}")
        self.offset = offset


def read_records(source: BinarySource | bytes) -> Iterator[Record]:
    """Iterate the records of a stream in order, one in memory at a time. Raises DamagedRecordError."""
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
