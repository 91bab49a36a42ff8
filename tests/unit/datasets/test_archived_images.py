"""Images in an archive are named before anything is packed, from whatever lists them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from include.datasets.errors import DatasetError
from include.datasets.sources.listing import ArchivedObjects
from include.datasets.unpacking.addresses import StoredSource
from include.datasets.unpacking.byte_stream import look_at
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import CURRENT, FORMATS, NAMES, Report


def archive(bucket: Bucket, *keys: str, storage_class: str = "GLACIER") -> None:
    for number, key in enumerate(keys):
        body: Any = {"Body": jpeg(seed=9000 + number), "StorageClass": storage_class}
        bucket.s3.put_object(Bucket=bucket.name, Key=key, **body)


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
@pytest.mark.parametrize("how", ["folders", "table", "list"])
def test_archived_images_are_named_with_class_and_command(bucket: Bucket, how: str, storage_class: str) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    archive(bucket, "images/cat/old 1.jpg", "images/dog/old2.jpg", storage_class=storage_class)
    keys = [key for key in bucket.listing("images/") if key.endswith(".jpg")]
    bucket.put("paths.txt", "\n".join(keys).encode())
    bucket.put("labels.csv", "\n".join(["path,label", *(f"{key[7:]},{key[7:10]}" for key in keys)]).encode())
    asked = {"folders": {}, "table": {"label_tables": [f"s3://{bucket.name}/labels.csv"]}}
    conf = bucket.conf(**asked.get(how, {"image_list": f"s3://{bucket.name}/paths.txt"}))
    with pytest.raises(
        DatasetError,
        match=rf"2 of 14 images to pack are archived .* 2 in S3 Glacier .* \({storage_class}\)\. Restore",
    ) as error:
        bucket.plan(conf)
    assert f"aws s3api restore-object --bucket {bucket.name} --key 'images/cat/old 1.jpg'" in str(error.value)


def test_classes_that_can_be_read_at_once_are_packed(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    for storage_class in ("GLACIER_IR", "STANDARD_IA", "INTELLIGENT_TIERING"):
        archive(bucket, f"images/cat/{storage_class}.jpg", storage_class=storage_class)
    assert bucket.plan(bucket.conf()).new_images == 15


def test_an_archived_image_that_nobody_asks_for_stops_nothing(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    archive(bucket, "images/owl/old.jpg", "images/loose.jpg")
    assert bucket.plan(bucket.conf(labels=["cat", "dog"])).new_images == 12


def test_an_image_that_the_parent_has_packed_may_be_archived_since(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    version = bucket.build(bucket.conf())
    body: Any = {"Body": bucket.get("images/cat/000.jpg"), "StorageClass": "DEEP_ARCHIVE"}
    bucket.s3.put_object(Bucket=bucket.name, Key="images/cat/000.jpg", **body)
    bucket.put_images({"cat": 2}, first=50)
    assert bucket.plan(bucket.conf(), "manual__2", parent=version.uri).new_images == 2
    archive(bucket, "images/dog/new.jpg")
    with pytest.raises(DatasetError, match="1 of 3 images to pack are archived"):
        bucket.plan(bucket.conf(), "manual__3", parent=version.uri)


def test_a_restored_image_is_not_archived() -> None:
    entry = {"Key": "a", "StorageClass": "GLACIER"}
    seen = ArchivedObjects()
    seen.see_listed("b", entry | {"RestoreStatus": {"IsRestoreInProgress": False, "RestoreExpiryDate": "2026-12-01"}})
    assert not len(seen)
    seen.see_listed("b", entry | {"RestoreStatus": {"IsRestoreInProgress": True}})
    assert seen.of("b", ["a", "c"]) == {"a": "GLACIER"}


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_inventory_says_which_images_are_archived(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    monkeypatch.setitem(NAMES, "StorageClass", ("storage_class", "string", pa.string()))
    tier = ("intelligent_tiering_access_tier", "string", pa.string())
    monkeypatch.setitem(NAMES, "IntelligentTieringAccessTier", tier)
    bucket.put_images({"cat": 6, "dog": 6})
    archive(bucket, "images/cat/old.jpg")
    report = Report(bucket, file_format, (*CURRENT, "StorageClass", "IntelligentTieringAccessTier"))
    rows = [row | {"StorageClass": "STANDARD", "IntelligentTieringAccessTier": ""} for row in report.rows()]
    for row in rows:
        if row["Key"] == "images/cat/old.jpg":
            row["StorageClass"] = "GLACIER"
        if row["Key"] == "images/dog/001.jpg":
            row |= {"StorageClass": "INTELLIGENT_TIERING", "IntelligentTieringAccessTier": "ARCHIVE_ACCESS"}
        if row["Key"] == "images/dog/002.jpg":
            row["StorageClass"] = "DEEP_ARCHIVE"  # restored and copied since: the bucket has it in STANDARD
    with pytest.raises(DatasetError, match=r"2 of 13 images .*Flexible Retrieval \(GLACIER\)") as error:
        bucket.plan(bucket.conf(inventory=report.write(rows)))
    assert "the Archive Access tier of S3 Intelligent-Tiering (ARCHIVE_ACCESS)" in str(error.value)
    assert "images/dog/002.jpg" not in str(error.value)


def test_an_archive_file_in_an_archive_is_named_before_it_is_read(bucket: Bucket) -> None:
    archive(bucket, "pets.zip", storage_class="DEEP_ARCHIVE")
    with pytest.raises(DatasetError, match=r"pets\.zip: it is in S3 Glacier Deep Archive \(DEEP_ARCHIVE\); restore it"):
        look_at(StoredSource(bucket.s3, f"s3://{bucket.name}/pets.zip"))
