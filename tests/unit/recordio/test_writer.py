from __future__ import annotations

import io

from include.recordio.format import MAGIC
from include.recordio.reader import read_records
from include.recordio.writer import RecordWriter


def test_the_index_leads_to_every_record() -> None:
    records, index = io.BytesIO(), io.BytesIO()
    writer = RecordWriter(records, index)
    payloads = {4: b"four", 9: MAGIC * 3, 2: b""}
    for record_id, payload in payloads.items():
        writer.write(record_id, payload)

    assert (writer.count, writer.offset) == (3, len(records.getvalue()))
    for line in index.getvalue().decode().splitlines():
        record_id, offset = map(int, line.split("\t"))
        assert next(read_records(records.getvalue()[offset:])).payload == payloads[record_id]


def test_the_concatenation_of_two_files_is_a_file() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    RecordWriter(first).write(0, b"one")
    RecordWriter(second).write(1, b"two")
    both = first.getvalue() + second.getvalue()
    assert [record.payload for record in read_records(both)] == [b"one", b"two"]
