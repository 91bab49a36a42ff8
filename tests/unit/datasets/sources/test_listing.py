from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.sources.listing import LiveBucket
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEYS = [
    "odd/%20+&amp;<b>\"'.jpg",
    "odd/</Contents><Contents>",
    "odd/class/é日😀.jpg",
    "odd/class/sub/\t1.jpg",
    "odd/last",
]


def test_a_listing_gives_every_key_as_it_is(s3: S3Client, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, key.encode())
    listing = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/odd/")
    heads = {key: s3.head_object(Bucket=bucket.name, Key=key) for key in KEYS}
    listed = {found.key: (found.etag, found.size) for found in listing.objects("odd/")}
    assert listed == {key: (head["ETag"].strip('"'), head["ContentLength"]) for key, head in heads.items()}


def test_folders_and_the_objects_beside_them_stand_in_one_listing(s3: S3Client, bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, b"x")
    folder = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/odd/").folder("odd/")
    assert folder.folders == ("<", "class")
    assert {found.key for found in folder.loose} == {"odd/%20+&amp;<b>\"'.jpg", "odd/last"}


def test_a_bucket_without_objects_lists_none(s3: S3Client, bucket: Bucket) -> None:
    listing = LiveBucket(s3, bucket.name, field="dataset.source", uri=f"s3://{bucket.name}/none/")
    assert list(listing.objects("none/")) == []
