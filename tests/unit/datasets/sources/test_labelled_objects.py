from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.plan import find_new_images
from include.datasets.sources.label_table import LabelTableError
from include.datasets.version import DatasetVersion, held_out_images
from include.recordio.format import decode_image_record, read_records
from include.run_conf import DatasetConf
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]
CLASSES = ("sun", "sea", "snow")
SCENES = {f"{number:02d}.jpg": "".join(str(number >> place & 1) for place in range(3)) for number in range(1, 32)}
"""31 images by all combinations of the three classes, some of none."""


def write(bucket: Bucket, scenes: Mapping[str, str], *, images: bool = True, key: str = "tables/scenes.csv") -> None:
    """A table of 0/1 columns, and its images under `photos/`."""
    lines = [",".join((path, *flags)) for path, flags in scenes.items()]
    bucket.put(key, "\n".join([f"path,{','.join(CLASSES)}", *lines]).encode())
    for place, path in enumerate(scenes):
        if images:
            bucket.put(f"photos/{path}", jpeg(16, 20, seed=place))


def conf(bucket: Bucket, **changes: Any) -> DatasetConf:
    table = {"source": [f"s3://{bucket.name}/photos/"], "label_tables": [f"s3://{bucket.name}/tables/scenes.csv"]}
    return bucket.conf(**{**table, "multi_label": True, **changes})


def test_every_record_has_a_0_or_1_for_each_class(bucket: Bucket, rows: Rows) -> None:
    write(bucket, SCENES)
    version = bucket.build(conf(bucket))
    keys = {row["record_id"]: key for key, row in rows(version).items()}
    packed = 0
    for split in ("train", "validation", "test"):
        for record in read_records(bucket.get(version.layout.records(split))):
            image = decode_image_record(record.payload)
            assert "".join(str(int(flag)) for flag in image.labels) == SCENES[keys[image.id].removeprefix("photos/")]
            packed += 1
    assert packed == version.counts.total == len(SCENES)
    assert (version.multi_label, version.labels) == (True, list(CLASSES))
    assert json.loads(bucket.get(version.layout.labels)) == list(CLASSES)
    for place, label in enumerate(CLASSES):
        assert version.class_counts[label].total == sum(flags[place] == "1" for flags in SCENES.values())


def test_an_image_of_none_of_the_classes_that_is_dropped_has_a_reason(bucket: Bucket, rows: Rows) -> None:
    write(bucket, SCENES)
    found = rows(bucket.build(conf(bucket, labels=["snow", "sea"], negatives="drop")))
    skipped = {key for key, row in found.items() if row["status"] == "skipped"}
    assert skipped == {f"photos/{path}" for path, flags in SCENES.items() if flags[1:] == "00"}
    row = found[min(skipped)]
    reason = "it shows none of the 2 labels, and dataset.negatives is drop"
    assert (row["reason"], row["labels"], row["split"]) == (reason, [], None)
    assert row["size"] == len(bucket.get(min(skipped)))


def test_labels_choose_and_order_the_classes_of_the_same_images(bucket: Bucket) -> None:
    write(bucket, SCENES)
    version = bucket.build(conf(bucket, labels=["snow", "sun"]))
    assert version.labels == ["snow", "sun"]
    for image in held_out_images(bucket.s3, version):
        flags = SCENES[image.key.rpartition("/")[2]]
        assert image.labels == (float(flags[2]), float(flags[0]))
    assert version.negative_images == sum(flags[0] == flags[2] == "0" for flags in SCENES.values())


def test_a_row_without_an_object_is_missing_and_bad(bucket: Bucket, rows: Rows) -> None:
    write(bucket, SCENES)
    bucket.s3.delete_object(Bucket=bucket.name, Key="photos/07.jpg")
    row = rows(bucket.build(conf(bucket, max_bad_fraction=0.1)))["photos/07.jpg"]
    assert (row["status"], row["reason"]) == ("missing", "line 8 of the label table names it, but it is not there")
    assert row["labels"] == list(CLASSES)


def test_held_out_images_and_their_sources_have_the_same_label_vectors(s3: S3Client, bucket: Bucket) -> None:
    write(bucket, SCENES)
    version = bucket.build(conf(bucket))
    images = list(held_out_images(s3, version))
    assert len(images) == version.counts.test > 0
    for image in images:
        assert image.labels == tuple(float(flag) for flag in SCENES[image.key.rpartition("/")[2]])


def test_images_may_lie_in_another_bucket_than_the_table(s3: S3Client, bucket: Bucket) -> None:
    photos = Bucket(s3, f"{bucket.name}-photos")
    s3.create_bucket(Bucket=photos.name)
    for number in range(8):
        photos.put(f"user/{number}.jpg", jpeg(seed=number))
    lines = [f"s3://{photos.name}/user/{number}.jpg,{'cat' if number % 2 else 'dog'}" for number in range(8)]
    bucket.put("labels.csv", "\n".join(["path,label", *lines]).encode())
    version = bucket.build(bucket.conf(label_tables=[f"s3://{bucket.name}/labels.csv"]))
    assert (version.labels, version.multi_label, version.counts.total) == (["cat", "dog"], False, 8)
    assert {image.label for image in held_out_images(s3, version)} <= {0, 1}


def test_a_split_column_is_kept_and_an_empty_cell_is_drawn(bucket: Bucket, rows: Rows) -> None:
    named = ["train", "training", "validation", "test"]
    lines = [f"{number:02d}.jpg,{'cat' if number % 2 else 'dog'},{(named * 8)[number // 2]}" for number in range(24)]
    lines += [f"{number:02d}.jpg,{'cat' if number % 2 else 'dog'}," for number in range(24, 40)]
    bucket.put("tables/scenes.csv", "\n".join(["path,label,split", *lines]).encode())
    for number in range(40):
        bucket.put(f"photos/{number:02d}.jpg", jpeg(seed=number))
    found = rows(bucket.build(conf(bucket, multi_label=False)))
    asked = {"training": "train"}
    for number in range(24):
        name = (named * 8)[number // 2]
        assert found[f"photos/{number:02d}.jpg"]["split"] == asked.get(name, name)
    assert {found[f"photos/{number:02d}.jpg"]["split"] for number in range(24, 40)} <= {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (["a.jpg,1,1,0"], {"multi_label": False}, r"1 rows have several labels \(line 2: \('sun', 'sea'\)\): set dat"),
        (
            ["a.jpg,1,0,0", "a.jpg,0,1,0"],
            {},
            r"1 rows name an image a second time \(line 3: 'a\.jpg', as line 2\): an",
        ),
        (["a.jpg,1,0,0", "s3://else/b.jpg,0,1,0"], {}, r"2 rows name images in 2 buckets \(.*, else\) .* copy them"),
    ],
)
def test_rows_that_contradict_each_other_are_shown(
    bucket: Bucket, rows: list[str], changes: dict[str, Any], message: str
) -> None:
    bucket.put("tables/scenes.csv", "\n".join(["path,sun,sea,snow", *rows]).encode())
    with pytest.raises(LabelTableError, match=message):
        bucket.plan(conf(bucket, **changes))


def test_a_name_of_no_split_is_shown(bucket: Bucket) -> None:
    bucket.put("tables/scenes.csv", b"path,label,split\na.jpg,cat,holdout\n")
    with pytest.raises(LabelTableError, match=r"1 rows name no split \(line 2: 'holdout'\): write train, validation"):
        bucket.plan(conf(bucket))


def test_a_table_with_splits_leaves_nothing_to_count_per_class(bucket: Bucket) -> None:
    bucket.put("tables/scenes.csv", b"path,label,split\na.jpg,cat,train\n")
    with pytest.raises(ValueError, match=r"train_per_class = 2, but .* has splits: leave the field empty"):
        bucket.plan(conf(bucket, multi_label=False, split={"train_per_class": 2}))


def test_a_grown_table_grows_the_version(s3: S3Client, bucket: Bucket, rows: Rows) -> None:
    first = dict(list(SCENES.items())[:20])
    write(bucket, first)
    parent = bucket.build(conf(bucket))
    assert find_new_images(s3, conf(bucket), parent).count == 0
    write(bucket, SCENES)
    new = find_new_images(s3, conf(bucket), parent)
    assert (new.count, new.new_labels) == (len(SCENES) - 20, ())
    before, after = rows(parent), rows(grown := bucket.build(conf(bucket), "manual__2", parent=parent.uri))
    assert {key: after[key]["split"] for key in before} == {key: row["split"] for key, row in before.items()}
    assert grown.counts.total == parent.counts.total + new.count
    assert (grown.multi_label, grown.labels, len(after)) == (True, parent.labels, len(SCENES))


def test_a_row_that_changes_is_looked_at_again_whether_its_image_was_packed_or_skipped(
    s3: S3Client, bucket: Bucket, rows: Rows
) -> None:
    scenes = {**SCENES, "08.jpg": "000"}
    write(bucket, scenes)
    parent = bucket.build(conf(bucket))
    write(bucket, {**scenes, "08.jpg": "100", "07.jpg": "001"})
    assert find_new_images(s3, conf(bucket), parent).count == 2
    after = rows(bucket.build(conf(bucket), "manual__2", parent=parent.uri))
    assert (after["photos/08.jpg"]["status"], after["photos/08.jpg"]["labels"]) == ("packed", ["sun"])
    assert (after["photos/07.jpg"]["status"], after["photos/07.jpg"]["labels"]) == ("packed", ["snow"])


def test_a_parent_with_labels_of_another_kind_is_refused(bucket: Bucket) -> None:
    write(bucket, {path: flags for path, flags in SCENES.items() if flags.count("1") == 1})
    parent = bucket.build(conf(bucket, multi_label=False))
    with pytest.raises(ValueError, match=r"multi_label is True, that of parent version .* False"):
        bucket.plan(conf(bucket), "manual__2", parent=parent.uri)
