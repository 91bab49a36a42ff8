from __future__ import annotations

import io
import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from im2rec.inspection import check_index, inspect_records
from include.recordio.format import (
    MAGIC,
    DamagedRecordError,
    RecordError,
    decode_image_record,
    encode_image_record,
    encode_record,
    read_records,
)
from tests.fuzz.bounds import damaged, fuzz, within
from tests.support.hostile_images import jpeg_of_scans, png

PAYLOADS = (
    encode_image_record([1], 0, png()),
    encode_image_record([math.nan], 1, jpeg_of_scans(16, 16, 1)),
    encode_image_record([math.inf, -1.0, 0.5], 2**64 - 1, png()),
    encode_image_record([0], 3, b"\0\0\0" + MAGIC * 3 + png()),
    struct.pack("<IfQQ", 0xFFFFFFFF, 0, 1, 0) + bytes(40),
    b"",
)
FILES = (
    b"".join(map(encode_record, PAYLOADS)),
    b"".join(map(encode_record, PAYLOADS[:4])),
    struct.pack("<4sI", MAGIC, 1 << 29)
    + struct.pack("<4sI", MAGIC, 2 << 29) * 20
    + struct.pack("<4sI", MAGIC, 3 << 29),
)


@fuzz
@given(body=damaged(*FILES))
def test_only_a_damaged_record_error_comes_out_of_the_reader(body: bytes) -> None:
    with within(seconds=1, megabytes=50):
        for source in (body, io.BytesIO(body)):
            try:
                for record in read_records(source):
                    assert record.offset < len(body)
                    decode_payload(record.payload)
            except DamagedRecordError as error:
                assert 0 <= error.offset <= len(body)


def decode_payload(payload: bytes) -> None:
    try:
        record = decode_image_record(payload)
    except RecordError:
        return
    assert record.labels
    assert len(record.image) <= len(payload)


@fuzz
@given(body=damaged(*FILES), index=damaged(b"0\t0\n1\t300\n", b"\xff\t-1\r\n99999999999999999999\t0\n") | st.binary())
def test_an_inspection_counts_whatever_a_file_holds(body: bytes, index: bytes) -> None:
    with within(seconds=2, megabytes=100):
        found = inspect_records("a.rec", io.BytesIO(body), io.BytesIO(index), decode=True)
    assert found.records >= sum(found.formats.values())
    assert found.index is not None
    assert found.is_sound in (True, False)


@fuzz
@given(digits=st.integers(1, 6000), sign=st.sampled_from(("", "-", "+", "0")))
def test_an_index_of_numbers_of_any_length_is_checked(digits: int, sign: str) -> None:
    line = f"{sign}{'9' * digits}\t{'9' * digits}\n".encode()
    with within(seconds=1, megabytes=10):
        check = check_index([line], [0], [0])
    assert check.faults
