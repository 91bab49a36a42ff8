from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.sources.table_formats import read_list_rows
from include.recordio import format as recordio
from include.recordio.format import (
    MAGIC,
    BadLine,
    DamagedRecordError,
    ListedImage,
    RecordError,
    RecordWriter,
    decode_image_record,
    encode_image_record,
    encode_record,
    label_number,
    line_fields,
    read_list,
    read_records,
)

PIECES = st.one_of(st.binary(max_size=9), st.just(MAGIC), st.just(MAGIC[:2]), st.just(b"abcd"))
PAYLOADS = st.lists(PIECES, max_size=8).map(b"".join)
RECORDS = [b"first", b"abcd" + MAGIC + b"efgh" + MAGIC, b"", b"last record"]
FRAMED = b"".join(map(encode_record, RECORDS))


class Trickle(io.BytesIO):
    """Gives at most three bytes at a time, as a socket may."""

    def read(self, amount: int | None = -1, /) -> bytes:
        return super().read(min(amount or 0, 3))


@pytest.mark.parametrize(
    ("payload", "framed"),
    [
        (b"", "0a23d7ce 00000000"),
        (MAGIC, "0a23d7ce 00000020 0a23d7ce 00000060"),
        (b"abcd" + MAGIC, "0a23d7ce 04000020 61626364 0a23d7ce 00000060"),
        (b"abc" + MAGIC, "0a23d7ce 07000000 6162630a 23d7ce00"),
        (b"abcde", "0a23d7ce 05000000 61626364 65000000"),
    ],
)
def test_a_payload_is_split_only_at_a_magic_on_a_multiple_of_four(payload: bytes, framed: str) -> None:
    assert encode_record(payload) == bytes.fromhex(framed)


@given(st.lists(PAYLOADS, max_size=6))
def test_any_payloads_come_back_as_they_were_written(payloads: list[bytes]) -> None:
    framed = b"".join(map(encode_record, payloads))
    assert [record.payload for record in read_records(framed)] == payloads


@given(PAYLOADS)
def test_the_magic_stands_on_a_multiple_of_four_only_where_a_part_begins(payload: bytes) -> None:
    framed = encode_record(payload)
    assert len(framed) % 4 == 0
    places = [place for place in range(0, len(framed), 4) if framed[place : place + 4] == MAGIC]
    begins = 0
    for place in places:
        assert place == begins
        length = struct.unpack_from("<I", framed, place + 4)[0] & ((1 << 29) - 1)
        begins += 8 + length + -length % 4
    assert begins == len(framed)


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=20),
)
def test_labels_id_and_image_survive_packing(labels: list[float], record_id: int, image: bytes) -> None:
    record = decode_image_record(encode_image_record(labels, record_id, image))
    assert (record.labels, record.id, record.image) == (tuple(labels), record_id, image)


def test_one_label_stands_in_the_header_and_several_follow_it() -> None:
    assert encode_image_record([2.0], 7, b"x") == struct.pack("<IfQQ", 0, 2.0, 7, 0) + b"x"
    assert encode_image_record([1.0, 0.0], 7, b"x") == struct.pack("<IfQQff", 2, 0.0, 7, 0, 1.0, 0.0) + b"x"


def test_a_record_without_a_label_is_refused() -> None:
    with pytest.raises(RecordError, match="record 3 has no label"):
        encode_image_record([], 3, b"x")


def test_a_payload_over_the_length_field_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordio, "MAX_LENGTH", 16)
    with pytest.raises(RecordError, match="17 bytes is over RecordIO's limit of 16"):
        encode_record(bytes(17))


@pytest.mark.parametrize("payload", [b"short", struct.pack("<IfQQ", 4, 0.0, 9, 0) + bytes(8)])
def test_an_image_record_shorter_than_its_header_says_so(payload: bytes) -> None:
    with pytest.raises(RecordError, match=r"shorter than its header|announces 4 labels"):
        decode_image_record(payload)


def test_more_labels_than_any_record_has_are_not_read() -> None:
    with pytest.raises(RecordError, match="it announces 200000 labels, at most 100000 are read"):
        decode_image_record(struct.pack("<IfQQ", 200_000, 0, 7, 0) + bytes(800_000))


def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole() -> None:
    assert [record.payload for record in read_records(Trickle(FRAMED))] == RECORDS


def test_records_know_the_byte_they_begin_at() -> None:
    for record in read_records(FRAMED):
        assert next(read_records(FRAMED[record.offset :])).payload == record.payload


@given(st.integers(1, len(FRAMED) - 1))
def test_a_file_cut_anywhere_gives_its_whole_records_and_then_the_byte_of_the_damage(end: int) -> None:
    begins = [record.offset for record in read_records(FRAMED)]
    whole = [payload for payload, stop in zip(RECORDS, [*begins[1:], len(FRAMED)], strict=True) if stop <= end]
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
    monkeypatch.setattr("include.recordio.format.MAX_LENGTH", 1000)
    with pytest.raises(DamagedRecordError, match="the parts of a record have more than 1000 bytes") as error:
        next(read_records(frames))
    assert error.value.offset == 0


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


LIST = "0\t1.000000\tcats/a b.jpg\n\n 7 \t 0 \t dogs/1.jpg \r\n"


def test_blanks_around_fields_are_no_part_of_them() -> None:
    assert line_fields(" 7 \t 0 \t1\t dogs/a b.jpg \r\n") == ["7", "0", "1", "dogs/a b.jpg"]


@pytest.mark.parametrize(("text", "number"), [("1", 1.0), ("1e3", 1000.0), ("-0.5", -0.5)])
def test_a_label_is_a_number(text: str, number: float) -> None:
    assert label_number(text) == number


@pytest.mark.parametrize("text", ["", "cat", "nan", "inf", "1e39"])
def test_a_label_is_a_finite_number_of_32_bits(text: str) -> None:
    assert label_number(text) is None


def test_im2rec_and_a_dataset_read_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.lst"
    path.write_text(LIST)

    listed = [*read_list(path)]
    width, rows = read_list_rows("s3://bucket/train.lst", LIST.encode())

    assert listed == [ListedImage(1, 0, (1.0,), "cats/a b.jpg"), ListedImage(3, 7, (0.0,), "dogs/1.jpg")]
    assert width == 1
    assert [(row.line, row.path, row.labels) for row in rows] == [
        (1, "cats/a b.jpg", ("1",)),
        (3, "dogs/1.jpg", ("0",)),
    ]


def test_a_line_with_too_few_fields_names_their_number(tmp_path: Path) -> None:
    path = tmp_path / "train.lst"
    path.write_text("0 1 cats/1.jpg\n")
    assert [*read_list(path)] == [
        BadLine(1, "1 field(s) between tabs; an index, one label or more, and a path are needed")
    ]
