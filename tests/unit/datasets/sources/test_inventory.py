from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.sources.inventory import Inventory
from include.datasets.sources.listing import LiveBucket
from include.datasets.sources.source import ClassFolders
from include.datasets.version import DatasetVersion
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import CURRENT, FORMATS, VERSIONED, Report

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]
HARD_NAMES = ["a b+c%20.jpg", "ü日本/x.jpg", "quote\",'.jpg", "sub/../up.jpg", "tab\there.jpg"]


def listed(s3: S3Client, report: Report, prefix: str = "images/") -> list[tuple[str, str, int]]:
    inventory = Inventory(s3, report.uri, report.bucket.name)
    return [(each.key, each.etag, each.size) for each in inventory.objects(prefix)]


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_inventory_lists_what_the_bucket_lists(s3: S3Client, bucket: Bucket, file_format: str) -> None:
    for number, name in enumerate(["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "readme.txt", *HARD_NAMES]):
        bucket.put(f"images/{name}", b"x" * (number + 1))
    bucket.put("images/cat/", b"")
    bucket.put("other/1.jpg", b"x")
    report = Report(bucket, file_format)
    report.write()
    live = LiveBucket(s3, bucket.name, field="dataset.source", uri="s3://")
    inventory = Inventory(s3, report.uri, bucket.name)
    for prefix in ("images/", "images/cat/", "images/nothing/"):
        assert list(inventory.objects(prefix)) == list(live.objects(prefix)), prefix
        assert inventory.folder(prefix) == live.folder(prefix), prefix
    wanted = ["images/cat/2.jpg", "images/a b+c%20.jpg", "images/none.jpg", "other/1.jpg"]
    assert inventory.find(wanted) == live.find(wanted)


@pytest.mark.parametrize("file_format", FORMATS)
def test_of_several_versions_the_latest_counts_unless_it_is_deleted(
    s3: S3Client, bucket: Bucket, file_format: str
) -> None:
    def row(key: str, size: int | None, *, latest: bool, deleted: bool = False) -> dict[str, Any]:
        etag = None if deleted else f"e{size}"
        return {"Key": key, "Size": size, "ETag": etag, "IsLatest": latest, "IsDeleteMarker": deleted} | {
            "Bucket": bucket.name,
            "VersionId": "v",
            "LastModifiedDate": None,
        }

    report = Report(bucket, file_format, VERSIONED)
    report.write(
        [
            row("images/old.jpg", 1, latest=False),
            row("images/old.jpg", 2, latest=True),
            row("images/gone.jpg", 3, latest=False),
            row("images/gone.jpg", None, latest=True, deleted=True),
            row("images/new.jpg", 4, latest=True),
        ]
    )
    assert listed(s3, report) == [("images/new.jpg", "e4", 4), ("images/old.jpg", "e2", 2)]


def test_a_version_is_built_from_an_inventory_without_what_came_later(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    bucket.put("images/cat/a b+c%20.jpg", jpeg(seed=7))
    uri = Report(bucket).write()
    bucket.put_images({"cat": 2, "owl": 3}, first=20)
    bucket.s3.delete_object(Bucket=bucket.name, Key="images/dog/005.jpg")

    version = bucket.build(bucket.conf(inventory=uri, max_bad_fraction=0.1))

    found = rows(version)
    assert (version.labels, version.counts.total, len(found)) == (["cat", "dog"], 12, 13)
    assert found["images/cat/a b+c%20.jpg"]["status"] == "packed"
    assert found["images/dog/005.jpg"]["status"] == "missing"
    assert version.source.inventory == uri


def test_an_inventory_serves_split_folders_and_tables_too(bucket: Bucket) -> None:
    bucket.put_images({"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    lines = [f"train/{label}/{number:03d}.jpg,{label}" for label in ("cat", "dog") for number in range(4)]
    bucket.put("labels.csv", "\n".join(["path,label", *lines]).encode())
    uri = Report(bucket).write()
    folders = bucket.build(bucket.conf(layout="split_folders", inventory=uri), "manual__1")
    table = bucket.build(bucket.conf(label_tables=[f"s3://{bucket.name}/labels.csv"], inventory=uri), "manual__2")
    assert (folders.counts.total, folders.counts.test, table.counts.total) == (12, 4, 8)


def test_a_bucket_is_not_listed_where_there_is_an_inventory(s3: S3Client, bucket: Bucket) -> None:
    class NoListing:
        def get_object(self, **request: Any) -> Any:
            return s3.get_object(**request)

    bucket.put_images({"cat": 2, "dog": 2})
    uri = Report(bucket).write()
    source = ClassFolders(Inventory(NoListing(), uri, bucket.name), f"s3://{bucket.name}/images/")  # type: ignore[arg-type]
    assert source.classes == ("cat", "dog")
    assert len(list(source.images(["cat", "dog"]))) == 4


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_inventory_without_sizes_or_etags_says_what_to_enable(
    s3: S3Client, bucket: Bucket, file_format: str
) -> None:
    report = Report(bucket, file_format, tuple(name for name in CURRENT if name not in ("Size", "ETag")))
    report.write()
    with pytest.raises(DatasetError, match=r"has no Size and no ETag \(it has .*\): enable the optional fields Size"):
        listed(s3, report)


def test_an_inventory_of_another_bucket_is_refused(bucket: Bucket) -> None:
    bucket.put_images({"cat": 2, "dog": 2})
    uri = Report(bucket).write(sourceBucket="holiday-photos")
    with pytest.raises(DatasetError, match=f"lists bucket holiday-photos, but the images are in {bucket.name}"):
        bucket.plan(bucket.conf(inventory=uri))


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_is_not_the_one_s3_wrote_is_refused(s3: S3Client, bucket: Bucket, file_format: str) -> None:
    bucket.put_images({"cat": 2, "dog": 2})
    report = Report(bucket, file_format)
    report.write()
    body = bucket.get(key := f"inventory/data/{report.date}-1.{file_format.lower()}")
    report.write(report.rows()[:3])
    bucket.put(key, body)
    with pytest.raises(DatasetError, match=rf"{key} has another MD5 than in the manifest"):
        listed(s3, report)
    bucket.put(key, body[: len(body) // 2])
    with pytest.raises(DatasetError, match=rf"{key} (cannot be read|has another MD5)"):
        listed(s3, report)
    bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(DatasetError, match=rf"{key} does not exist"):
        listed(s3, report)


@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"sourceBucket": "b"}'])
def test_what_is_no_manifest_is_refused(bucket: Bucket, body: bytes) -> None:
    bucket.put("inventory/manifest.json", body)
    with pytest.raises(DatasetError, match=r"is not a manifest of an S3 Inventory .* name its manifest\.json"):
        bucket.plan(bucket.conf(inventory=f"s3://{bucket.name}/inventory/manifest.json"))
