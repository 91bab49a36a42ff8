from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.recordio.format import MAGIC, encode_record
from include.recordio.reader import DamagedRecordError, read_records

PAYLOADS = [b"first", b"abcd" + MAGIC + b"efgh" + MAGIC, b"", b"last record"]
FRAMED = b"".join(map(encode_record, PAYLOADS))


class Trickle(io.BytesIO):
    """Gives at most three bytes at a time, as a socket may."""

    def read(self, amount: int | None = -1, /) -> bytes:
        return super().read(min(amount or 0, 3))


def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole() -> None:
    assert [record.payload for record in read_records(Trickle(FRAMED))] == PAYLOADS


def test_records_know_the_byte_they_begin_at() -> None:
    for record in read_records(FRAMED):
        assert next(read_records(FRAMED[record.offset :])).payload == record.payload


@given(st.integers(1, len(FRAMED) - 1))
def test_a_file_cut_anywhere_gives_its_whole_records_and_then_the_byte_of_the_damage(end: int) -> None:
    begins = [record.offset for record in read_records(FRAMED)]
    whole = [payload for payload, stop in zip(PAYLOADS, [*begins[1:], len(FRAMED)], strict=True) if stop <= end]
    read = []
    try:
        for record in read_records(FRAMED[:end]):
            read.append(record.payload)
        assert end in begins
    except DamagedRecordError as damage:
        assert begins[len(whole)] <= damage.offset <= end
    assert read == whole


def test_a_wrong_magic_is_reported_with_its_byte() -> None:
    first = encode_record(b"first")
    with pytest.raises(
        DamagedRecordError, match=f"damaged at byte {len(first)}: expected the magic 0a23d7ce, found 58"
    ):
        list(read_records(first + b"X" + encode_record(b"second")[1:]))


def test_a_part_without_its_beginning_is_damage() -> None:
    split = encode_record(b"abcd" + MAGIC)
    with pytest.raises(DamagedRecordError, match="byte 0: a record begins with the middle or the end"):
        list(read_records(split[12:]))


def test_a_new_record_inside_an_unfinished_one_is_damage() -> None:
    beginning = encode_record(b"abcd" + MAGIC)[:12]
    with pytest.raises(DamagedRecordError, match="byte 12: a new record begins inside the one that began at byte 0"):
        list(read_records(beginning + encode_record(b"whole")))


def test_a_record_whose_parts_together_are_too_long_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = b"".join(struct.pack("<4sI", MAGIC, place << 29 | 40) + bytes(40) for place in (1, *[2] * 100, 3))
    assert len(next(read_records(frames)).payload) == 102 * 40 + 101 * 4
    monkeypatch.setattr("include.recordio.reader.MAX_LENGTH", 1000)
    with pytest.raises(DamagedRecordError, match="the parts of a record have more than 1000 bytes") as error:
        next(read_records(frames))
    assert error.value.offset == 0
