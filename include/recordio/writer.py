"""Write RecordIO: the ``.rec`` and, where wanted, the ``.idx`` that finds a record by its id."""

from __future__ import annotations

from typing import Protocol

from include.recordio.format import encode_record


class BinarySink(Protocol):
    """Whatever takes bytes in order: a file, a BytesIO, an upload."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class RecordWriter:
    """Appends records to a binary sink and knows where each one begins.

    ``index`` takes the lines of the ``.idx``; the sinks stay open and belong to the caller.
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
        """Append a record that ``encode_record`` framed, in another thread perhaps, and return its byte offset."""
        offset = self.offset
        self._records.write(framed)
        if self._index is not None:
            self._index.write(index_line(record_id, offset))
        self.offset += len(framed)
        self.count += 1
        return offset


def index_line(record_id: int, offset: int) -> bytes:
    r"""Return a line of an ``.idx`` file: ``id \t byte offset \n``."""
    return b"%d\t%d\n" % (record_id, offset)
