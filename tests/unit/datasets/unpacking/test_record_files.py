from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pyarrow.parquet as pq
import pytest

from include.datasets.errors import DatasetError
from include.datasets.objects import ObjectWriter, StoredObjects
from include.datasets.unpacking.record_files import RecordsUnpacker, parquet
from include.recordio.format import MAGIC, RecordWriter, encode_image_record
from tests.support.archives import rec_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg, png

IMAGES = [jpeg(seed=number) for number in range(6)]
Unpack = Callable[..., RecordsUnpacker]


@pytest.fixture
def unpack(bucket: Bucket) -> Unpack:
    def run(body: bytes, names: Sequence[str] = ()) -> RecordsUnpacker:
        with ObjectWriter(bucket.s3, StoredObjects(bucket.s3, bucket.name, "images/")) as writer:
            unpacker = RecordsUnpacker(writer, "images/", names)
            unpacker.unpack(io.BytesIO(body), "s3://bucket/pets-train.rec")
        return unpacker

    return run


def single(labels: Sequence[float] = (0, 1, 2, 10, 1, 0)) -> bytes:
    return rec_of([((label,), image) for label, image in zip(labels, IMAGES, strict=True)])


def rows(unpacker: RecordsUnpacker) -> dict[str, list[str]]:
    table = pq.read_table(io.BytesIO(parquet(unpacker.table("b", "train"))))
    assert set(table.column("split").to_pylist()) == {"train"}
    return dict(zip(table.column("path").to_pylist(), table.column("label").to_pylist(), strict=True))


def test_images_become_objects_named_by_number_and_id(unpack: Unpack, bucket: Bucket) -> None:
    unpack(rec_of([((0,), IMAGES[0]), ((1,), png())], first_id=7))

    assert bucket.listing("") == ["images/00000000-7.jpg", "images/00000001-8.png"]
    assert bucket.get("images/00000000-7.jpg") == IMAGES[0]


def test_class_indices_are_names_until_there_are_better_ones(unpack: Unpack) -> None:
    unpacker = unpack(single())

    assert rows(unpacker)["s3://b/images/00000003-103.jpg"] == ["10"]
    assert unpacker.summary("train").classes == ["0", "1", "2", "10"]


def test_names_stand_in_the_order_of_the_indices(unpack: Unpack) -> None:
    names = [f"breed {number}" for number in range(11)]
    unpacker = unpack(single(), names)

    assert list(rows(unpacker).values()) == [[names[index]] for index in (0, 1, 2, 10, 1, 0)]
    assert unpacker.summary(None).classes == names


def test_vectors_become_lists_of_names(unpack: Unpack) -> None:
    body = rec_of([((0, 1, 1), IMAGES[0]), ((0, 0, 0), IMAGES[1]), ((1, 0, 0), IMAGES[2])])
    unpacker = unpack(body, ["cat", "dog", "cow"])

    assert list(rows(unpacker).values()) == [["dog", "cow"], [], ["cat"]]
    assert unpacker.summary(None).label_width == 3
    assert unpack(body).summary(None).classes == ["0", "1", "2"]


def test_too_few_names_are_refused(unpack: Unpack) -> None:
    with pytest.raises(DatasetError, match=r"record 3 \(id 103\) has the class index 10, but 3 classes are named"):
        unpack(single(), ["a", "b", "c"])
    with pytest.raises(DatasetError, match="has 2 labels, but 3 classes are named"):
        unpack(rec_of([((0, 1), IMAGES[0])]), ["a", "b", "c"])


def offset_of(number: int) -> int:
    return len(rec_of([((0,), image) for image in IMAGES[:number]]))


def broken(number: int, labels: Sequence[float], image: bytes) -> bytes:
    records: list[tuple[Sequence[float], bytes]] = [((0.0,), image) for image in IMAGES]
    records[number] = (labels, image)
    return rec_of(records)


def without_header() -> bytes:
    sink = io.BytesIO(rec_of([((0,), image) for image in IMAGES[:3]]))
    sink.seek(0, io.SEEK_END)
    RecordWriter(sink).write(0, bytes(8))
    return sink.getvalue()


def with_many_labels() -> bytes:
    sink = io.BytesIO(rec_of([((0,), image) for image in IMAGES[:3]]))
    sink.seek(0, io.SEEK_END)
    RecordWriter(sink).write(0, b"\xff\xff\xff\x7f" + encode_image_record([0], 1, IMAGES[0])[4:])
    return sink.getvalue()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (broken(3, (0, 1), IMAGES[3]), "has 2 labels, those before it 1"),
        (broken(3, (1.5,), IMAGES[3]), "not a class index: 1.5"),
        (broken(3, (-1,), IMAGES[3]), "not a class index: -1.0"),
        (broken(3, (float("nan"),), IMAGES[3]), "not a class index: nan"),
        (broken(3, (0,), b"no image at all"), "the image of record 3 (id 103) is not_an_image"),
        (broken(3, (0,), IMAGES[3][:-40]), "the image of record 3 (id 103) is corrupt"),
        (without_header(), "record 3 has no image"),
        (with_many_labels(), "record 3 has no image: it announces"),
        (single()[: offset_of(3)] + b"\0\0\0\0garbage", "expected the magic"),
        (single()[: offset_of(3) + 50], "the file ends after"),
        (single()[: offset_of(3)] + MAGIC, "the file ends"),
    ],
)
def test_the_first_bad_byte_is_named(unpack: Unpack, body: bytes, reason: str) -> None:
    with pytest.raises(DatasetError) as error:
        unpack(body)

    assert reason in str(error.value)
    assert f"RecordIO is damaged at byte {offset_of(3)}" in str(error.value)
    assert str(error.value).startswith("dataset.source = s3://bucket/pets-train.rec: ")
    assert "pack it again" in str(error.value)


def test_an_image_before_the_damage_is_the_first_bad_byte(unpack: Unpack) -> None:
    body = broken(1, (0,), b"no image at all")[:-10]

    with pytest.raises(DatasetError, match=f"damaged at byte {offset_of(1)}"):
        unpack(body)


def test_vectors_hold_zeros_and_ones(unpack: Unpack) -> None:
    with pytest.raises(DatasetError, match=r"neither 0 nor 1: 2\.0"):
        unpack(rec_of([((0, 2), IMAGES[0])]))


def test_an_empty_file_is_refused(unpack: Unpack) -> None:
    with pytest.raises(DatasetError, match="has no records"):
        unpack(b"")


def with_headers(records: Sequence[tuple[Sequence[float], bytes]], *, first_id: int = 100) -> bytes:
    """A file as face data sets have it: records of a header and no image among those with one."""
    sink = io.BytesIO()
    writer = RecordWriter(sink)
    for number, (labels, image) in enumerate(records, start=first_id):
        writer.write(number, encode_image_record(labels, number, image))
    return sink.getvalue()


HEADED = [
    ([7, 9], b""),
    ([0], IMAGES[0]),
    ([1], IMAGES[1]),
    ([5, 6, 7], b""),
    ([1], IMAGES[2]),
    ([102, 104], b""),
    ([3], b""),
]


def test_records_of_a_header_and_no_image_are_left_out_and_counted(
    unpack: Unpack, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    unpacker = unpack(with_headers(HEADED))
    assert bucket.listing("") == [f"images/0000000{n}-10{n}.jpg" for n in (1, 2, 4)]
    assert unpacker.left_out == {"imageless": 4}
    summary = unpacker.summary("train")
    assert (summary.label_width, summary.classes) == (1, ["0", "1"])
    assert list(rows(unpacker).values()) == [["0"], ["1"], ["1"]]
    assert "s3://bucket/pets-train.rec: left out {'imageless': 4}" in caplog.text
    assert "Left out record 3 (id 103): it has 3 labels and no image" in caplog.text


def test_several_labels_go_with_headers_of_another_number(unpack: Unpack) -> None:
    unpacker = unpack(with_headers([([4, 4], b""), ([1, 0, 1], IMAGES[0]), ([0, 1, 1], IMAGES[1]), ([9], b"")]))
    assert (unpacker.left_out, unpacker.summary(None).label_width) == ({"imageless": 2}, 3)


def test_a_file_of_headers_alone_holds_no_image(unpack: Unpack) -> None:
    with pytest.raises(DatasetError, match=r"pets-train\.rec has no image: its 2 records have only a header"):
        unpack(with_headers([([4, 4], b""), ([9], b"")]))
