"""Keys with characters that XML cannot hold are listed, planned, packed and grown as any others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.plan import find_new_images
from include.datasets.sources.listing import LiveBucket, find_objects
from include.datasets.version import DatasetVersion, held_out_images
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONTROLS = ["\x01", "\x08", "\t", "\n", "\x0b", "\r", "\x1f", "\x7f", "\x85", "\ufffe", "\uffff"]
ODD = [*CONTROLS, " ", "+", "%41", "&<>\"'", "日本"]
KEYS = [f"images/{label}/{odd}{number}.jpg" for odd in ODD for number, label in enumerate(("cat", "dog"))]


@pytest.fixture
def odd(bucket: Bucket) -> Bucket:
    for number, key in enumerate(KEYS):
        bucket.put(key, jpeg(seed=number))
    return bucket


def test_every_listing_gives_the_keys_as_they_are(s3: S3Client, odd: Bucket) -> None:
    live = LiveBucket(s3, odd.name, field="dataset.source", uri=f"s3://{odd.name}/")
    assert {each.key for each in live.objects("images/")} == set(KEYS)
    assert set(find_objects(s3, odd.name, KEYS)) == set(KEYS)
    for key in KEYS:
        assert list(find_objects(s3, odd.name, [key, f"{key}x"])) == [key]
        assert [each.key for each in live.objects(key[:-4])] == [key]


@pytest.mark.parametrize("how", ["list_objects", "list_objects_v2", "list_object_versions"])
@pytest.mark.parametrize("size", [1, 1000])
def test_every_kind_of_listing_of_the_local_aws_goes_on_after_any_key(
    s3: S3Client, odd: Bucket, how: Any, size: int
) -> None:
    pages = s3.get_paginator(how).paginate(Bucket=odd.name, PaginationConfig={"PageSize": size})
    entries = "Versions" if how == "list_object_versions" else "Contents"
    assert [each["Key"] for page in pages for each in page.get(entries, [])] == sorted(KEYS)


def test_keys_beside_any_delimiter_are_listed(s3: S3Client, odd: Bucket) -> None:
    for how in (s3.list_objects, s3.list_objects_v2, s3.list_object_versions):
        found: Any = how(Bucket=odd.name, Prefix="images/cat/\x01", Delimiter="\x0b")
        assert found["Delimiter"] == "\x0b"
        # Of ListObjects boto3 does not decode the prefix.
        assert found["Prefix"] == ("images/cat/%01" if how == s3.list_objects else "images/cat/\x01")
    after = s3.list_objects_v2(Bucket=odd.name, StartAfter="images/cat/\x01")
    assert after["StartAfter"] == "images/cat/\x01"


def test_a_dataset_of_such_keys_is_built_grown_and_found_again(
    s3: S3Client, odd: Bucket, rows: Callable[[DatasetVersion], dict[str, dict[str, Any]]]
) -> None:
    version = odd.build(odd.conf())
    found = rows(version)
    assert {key: row["status"] for key, row in found.items()} == dict.fromkeys(KEYS, "packed")
    odd.put("images/cat/new\x02.jpg", jpeg(seed=900))
    odd.s3.delete_object(Bucket=odd.name, Key=KEYS[0])
    assert find_new_images(s3, odd.conf(), version).count == 1
    grown = odd.build(odd.conf(), "manual__2", parent=version.uri)
    assert grown.counts.total == version.counts.total
    assert rows(grown)["images/cat/new\x02.jpg"]["status"] == "packed"
    held_out = [image.key for image in held_out_images(s3, grown)]
    assert len(find_objects(s3, odd.name, held_out)) == len(held_out) == grown.counts.test
