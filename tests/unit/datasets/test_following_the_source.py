from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.publishing import cut_out
from include.datasets.version import DatasetVersion
from include.recordio.format import decode_image_record, read_records
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]


@pytest.fixture
def parent(bucket: Bucket) -> DatasetVersion:
    bucket.put_images({"cat": 10, "dog": 10})
    return bucket.build(bucket.conf())


def remove(bucket: Bucket, *names: str) -> None:
    for name in names:
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"images/{name}.jpg")


def check_records(bucket: Bucket, version: DatasetVersion, rows: dict[str, dict[str, Any]]) -> None:
    """Every packed row leads to its record, every record has a row, and the index agrees."""
    packed = {row["record_id"]: row for row in rows.values() if row["status"] == "packed"}
    assert len(packed) == version.counts.total
    for split in ("train", "validation", "test"):
        offsets = {}
        for record in read_records(bucket.get(version.layout.records(split))):
            image = decode_image_record(record.payload)
            row = packed.pop(image.id)
            assert (row["split"], row["offset"]) == (split, record.offset)
            assert row["labels"] == [version.labels[int(image.labels[0])]]
            offsets[image.id] = record.offset
        lines = bucket.get(version.layout.index(split)).decode().splitlines()
        assert [tuple(map(int, line.split("\t"))) for line in lines] == list(offsets.items())
    assert not packed


def test_removed_images_lose_their_records_and_nothing_is_read_for_it(
    bucket: Bucket, parent: DatasetVersion, rows: Rows
) -> None:
    before = rows(parent)
    remove(bucket, "cat/003", "cat/004", "dog/007")
    child = bucket.build(bucket.conf(), "manual__2", parent=parent.uri)
    after = rows(child)
    assert (child.counts.total, child.statuses, child.newly_packed) == (17, {"packed": 17, "removed": 3}, 0)
    assert {key: row["record_id"] for key, row in after.items() if row["status"] == "packed"} == {
        key: row["record_id"] for key, row in before.items() if after[key]["status"] == "packed"
    }
    assert after["images/cat/003.jpg"]["split"] == before["images/cat/003.jpg"]["split"]
    check_records(bucket, child, after)

    remove(bucket, "cat/005")
    grandchild = bucket.build(bucket.conf(), "manual__3", parent=child.uri)
    assert grandchild.statuses == {"packed": 16, "removed": 1}
    check_records(bucket, grandchild, rows(grandchild))


def test_an_image_that_comes_back_gets_its_old_split_and_a_new_record(
    bucket: Bucket, parent: DatasetVersion, rows: Rows
) -> None:
    before = rows(parent)
    held_out = [key for key, row in before.items() if row["split"] != "train"]
    bodies = {key: bucket.get(key) for key in held_out[:2]}
    for key in bodies:
        bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    child = bucket.build(bucket.conf(), "manual__2", parent=parent.uri)
    for key, body in bodies.items():
        bucket.put(key, body)
    grandchild = bucket.build(bucket.conf(), "manual__3", parent=child.uri)
    after = rows(grandchild)
    assert {key: after[key]["split"] for key in before} == {key: row["split"] for key, row in before.items()}
    assert {after[key]["record_id"] for key in bodies} == {20, 21}
    check_records(bucket, grandchild, after)


def test_replaced_and_relabelled_images_are_packed_again_in_their_split(
    bucket: Bucket, parent: DatasetVersion, rows: Rows
) -> None:
    before = rows(parent)
    bucket.put("images/cat/001.jpg", jpeg(40, 44, seed=3))
    bucket.put("images/dog/moved.jpg", bucket.get("images/cat/002.jpg"))
    remove(bucket, "cat/002")
    child = bucket.build(bucket.conf(), "manual__2", parent=parent.uri)
    after = rows(child)
    assert (child.counts.total, child.newly_packed) == (20, 2)
    assert after["images/cat/001.jpg"]["split"] == before["images/cat/001.jpg"]["split"]
    assert after["images/dog/moved.jpg"]["split"] == before["images/cat/002.jpg"]["split"]
    assert (after["images/cat/001.jpg"]["width"], after["images/cat/002.jpg"]["status"]) == (44, "removed")
    check_records(bucket, child, after)


def test_a_label_table_that_is_corrected_relabels_the_record(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"all": 20})
    lines = [f"all/{number:03d}.jpg,{'cat' if number % 2 else 'dog'}" for number in range(20)]
    conf = bucket.conf(label_tables=[f"s3://{bucket.name}/labels.csv"])
    bucket.put("labels.csv", "\n".join(["path,label", *lines]).encode())
    parent = bucket.build(conf)
    lines[4] = "all/004.jpg,cat"
    bucket.put("labels.csv", "\n".join(["path,label", *lines]).encode())
    child = bucket.build(conf, "manual__2", parent=parent.uri)
    before, after = rows(parent)["images/all/004.jpg"], rows(child)["images/all/004.jpg"]
    assert (before["labels"], after["labels"], after["split"]) == (["dog"], ["cat"], before["split"])
    assert child.class_counts["cat"].total == 11
    check_records(bucket, child, rows(child))


def test_a_renamed_image_keeps_its_record(bucket: Bucket, parent: DatasetVersion, rows: Rows) -> None:
    bucket.put("images/cat/other name.jpg", bucket.get("images/cat/003.jpg"))
    remove(bucket, "cat/003")
    child = bucket.build(bucket.conf(), "manual__2", parent=parent.uri)
    before, after = rows(parent)["images/cat/003.jpg"], rows(child)["images/cat/other name.jpg"]
    assert (child.counts, child.newly_packed, after["record_id"]) == (parent.counts, 0, before["record_id"])
    for split in ("train", "validation", "test"):
        assert bucket.get(child.layout.records(split)) == bucket.get(parent.layout.records(split))
    check_records(bucket, child, rows(child))


def test_removed_images_are_kept_where_that_is_asked(bucket: Bucket, parent: DatasetVersion, rows: Rows) -> None:
    remove(bucket, *(f"dog/{number:03d}" for number in range(10)))
    bucket.put_images({"cat": 2}, first=20)
    bucket.put("images/dog/again.jpg", jpeg(seed=9))
    child = bucket.build(bucket.conf(keep_removed=True), "manual__2", parent=parent.uri)
    assert (child.counts.total, child.statuses) == (23, {"packed": 23})
    check_records(bucket, child, rows(child))


def test_a_source_that_lists_nothing_any_more_is_an_error(bucket: Bucket, parent: DatasetVersion) -> None:
    remove(bucket, *(f"{label}/{number:03d}" for label in ("cat", "dog") for number in range(10)))
    with pytest.raises(DatasetError, match=r"lists no image of the 2 classes, but parent version .* has 20"):
        bucket.plan(bucket.conf(), "manual__2", parent=parent.uri)


def test_a_class_that_loses_all_its_images_is_an_error(bucket: Bucket, parent: DatasetVersion) -> None:
    remove(bucket, *(f"dog/{number:03d}" for number in range(10)))
    with pytest.raises(DatasetError, match=r"1 classes of parent version .* have no image left at .*: dog; put their"):
        bucket.plan(bucket.conf(), "manual__2", parent=parent.uri)


def test_a_version_whose_images_were_all_replaced_has_none_of_the_old_bytes(
    s3: S3Client, bucket: Bucket, parent: DatasetVersion, rows: Rows
) -> None:
    bucket.put_images({"cat": 10, "dog": 10}, side=30)
    child = bucket.build(bucket.conf(), "manual__2", parent=parent.uri)
    assert (child.counts, child.smallest_side, child.mean_image is not None) == (parent.counts, 30, True)
    check_records(bucket, child, rows(child))


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30))
def test_cutting_leaves_exactly_the_records_that_stay(records: list[tuple[int, bool]]) -> None:
    lengths = np.array([length for length, _ in records], dtype=np.int64)
    stays = np.array([stay for _, stay in records], dtype=bool)
    offsets = np.cumsum(lengths) - lengths
    whole = [number for number, (length, _) in enumerate(records) for _ in range(length)]

    moved, stretches = cut_out(offsets, len(whole), stays)

    left = [whole[byte] for start, end in stretches for byte in range(start, end)]
    assert left == [number for number in whole if records[number][1]]
    assert [left[offset] for offset in moved] == list(np.flatnonzero(stays))
    assert all(earlier[1] < later[0] for earlier, later in pairwise(stretches))
