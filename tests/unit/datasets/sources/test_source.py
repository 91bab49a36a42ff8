from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import pytest

from include.datasets.errors import DatasetError
from include.datasets.sources.source import open_source
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import DatasetVersion
from tests.support.archives import rec_of, zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg


def test_a_label_table_labels_the_images_of_an_archive(bucket: Bucket) -> None:
    members = {f"scenes/{'day' if number % 2 else 'night'}/{number}.jpg": jpeg(seed=number) for number in range(12)}
    bucket.put("scenes.zip", zip_of(members))
    rows = [f"{name.removeprefix('scenes/')},1,{number % 3 // 2}" for number, name in enumerate(members)]
    bucket.put("scenes.csv", "\n".join(["path,sky,sea", *rows]).encode())
    conf = bucket.conf(
        source=[f"s3://{bucket.name}/scenes.zip"],
        label_tables=[f"s3://{bucket.name}/scenes.csv"],
        multi_label=True,
    )
    unpack_sources(bucket.s3, conf, bucket.name)

    version = bucket.build(conf)

    assert (version.labels, version.multi_label, version.statuses) == (["sky", "sea"], True, {"packed": 12})
    assert version.source.addresses == [f"s3://{bucket.name}/scenes.zip"]


def test_records_that_are_split_leave_nothing_to_count_per_class(bucket: Bucket) -> None:
    bucket.put("pets-train.rec", rec_of([([number % 2], jpeg(seed=number)) for number in range(6)]))
    conf = bucket.conf(source=[f"s3://{bucket.name}/pets-train.rec"], split={"train_per_class": 1})
    unpack_sources(bucket.s3, conf, bucket.name)
    with pytest.raises(DatasetError, match=r"train_per_class = 1, but dataset\.source .*pets-train\.rec has splits"):
        open_source(bucket.s3, conf, bucket.name)


Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]


def put(bucket: Bucket, folders: Mapping[str, int], *, first: int = 0) -> None:
    """Images under `images/`, `count` in each of the named folders."""
    for folder, count in folders.items():
        for number in range(first, first + count):
            seed = crc32(f"{folder}/{number}".encode())
            bucket.put(f"images/{folder}/{number}.jpg", jpeg(16, 20, seed=seed))


def splits_of_folders(rows: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """The splits that the images of each folder right under `images/` went to."""
    found: dict[str, set[str]] = {}
    for key, row in rows.items():
        if row["status"] == "packed":
            found.setdefault(key.split("/")[1], set()).add(row["split"])
    return found


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("training", "validation", "evaluation"), ("Train", "val", "Test")]
)
def test_the_folders_say_the_split_of_every_image(bucket: Bucket, rows: Rows, names: tuple[str, str, str]) -> None:
    put(bucket, {f"{folder}/{breed}": 3 for folder in names for breed in ("001.Affenpinscher", "002.Afghan_hound")})
    version = bucket.build(bucket.conf(layout="split_folders"))
    assert splits_of_folders(rows(version)) == dict(zip(names, ({"train"}, {"validation"}, {"test"}), strict=True))
    assert version.labels == ["001.Affenpinscher", "002.Afghan_hound"]
    assert version.counts.model_dump() == {"train": 6, "validation": 6, "test": 6}
    assert version.source.layout == "split_folders"


def test_an_absent_split_is_drawn_from_the_training_images_by_its_share(bucket: Bucket, rows: Rows) -> None:
    put(bucket, {"train/cat": 40, "train/dog": 40, "test/cat": 3, "test/dog": 3})
    version = bucket.build(bucket.conf(layout="split_folders", split={"train": 0.6, "validation": 0.2, "test": 0.2}))
    assert splits_of_folders(rows(version)) == {"train": {"train", "validation"}, "test": {"test"}}
    assert version.counts.test == 6
    assert 0.1 < version.counts.validation / 80 < 0.4  # 0.2 / (0.6 + 0.2)
    assert all(counts.validation for counts in version.class_counts.values())


def test_what_a_source_calls_test_may_choose_the_best_model(bucket: Bucket, rows: Rows) -> None:
    put(bucket, {"train/cat": 12, "train/dog": 12, "test/cat": 4, "test/dog": 4})
    version = bucket.build(bucket.conf(layout="split_folders", split={"test_as": "validation"}))
    assert splits_of_folders(rows(version)) == {"train": {"train", "test"}, "test": {"validation"}}
    assert version.counts.validation == 8


def test_a_grown_version_keeps_the_drawn_splits_and_takes_the_given_ones(bucket: Bucket, rows: Rows) -> None:
    put(bucket, {"train/cat": 12, "train/dog": 12, "test/cat": 3, "test/dog": 3})
    conf = bucket.conf(layout="split_folders")
    before = rows(parent := bucket.build(conf))
    put(bucket, {"train/cat": 5, "test/dog": 2, "valid/dog": 2}, first=20)
    after = rows(bucket.build(conf, "manual__2", parent=parent.uri))
    assert {key: after[key]["split"] for key in before} == {key: row["split"] for key, row in before.items()}
    new = Counter((key.split("/")[1], row["split"]) for key, row in after.items() if key not in before)
    assert new == {("train", "train"): 5, ("test", "test"): 2, ("valid", "validation"): 2}


def test_what_lies_beside_the_folders_is_ignored_and_foreign_folders_are_told(
    bucket: Bucket, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    put(bucket, {f"{split}/{pet}": 2 for split in ("train", "valid", "test") for pet in ("cat", "dog")})
    put(bucket, {"drafts/cat": 2})
    bucket.put("images/readme.txt", b"beside the splits")
    bucket.put("images/train/names.csv", b"beside the classes")
    with caplog.at_level(logging.WARNING):
        found = rows(bucket.build(bucket.conf(layout="split_folders")))
    assert {key: row["status"] for key, row in found.items() if row["status"] != "packed"} == {
        "images/readme.txt": "ignored",
        "images/train/names.csv": "ignored",
        "images/drafts/cat/0.jpg": "ignored",
        "images/drafts/cat/1.jpg": "ignored",
    }
    assert "folders that are not splits and are ignored: drafts" in caplog.text


def test_a_source_without_a_folder_to_train_on_is_refused_with_what_it_has(bucket: Bucket) -> None:
    put(bucket, {"cat/2026": 2, "dog/2026": 2})
    with pytest.raises(DatasetError, match=r"has no folder train or training \(it has cat, dog\): put class folders"):
        bucket.plan(bucket.conf(layout="split_folders"))
