from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.manifest import ManifestRow
from include.datasets.objects import is_plain_key
from include.datasets.packing.images_in_order import ObjectFetcher
from include.recordio.images import ImageError
from tests.support.dataset_bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SEGMENTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
ODD = st.sampled_from(["a b", "..", ".", "", "a\tb", "a\nb", "%2F", "%", "a+b", "#?&=", "日本", "\u0301e", "~*'()"])


def fetch(s3: S3Client, row: ManifestRow) -> bytes:
    return ObjectFetcher(s3).fetch(row)


def listed(bucket: Bucket, key: str, body: bytes) -> ManifestRow:
    etag = bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=body)["ETag"].strip('"')
    return ManifestRow(bucket.name, key, etag, len(body), "train", ("cat",), "planned")


@settings(max_examples=30)
@given(segments=st.lists(SEGMENTS | ODD, min_size=1, max_size=4))
def test_every_key_gives_the_bytes_that_lie_under_it(s3: S3Client, bucket: Bucket, segments: list[str]) -> None:
    key = "/".join(["images", *segments])
    body = uuid.uuid4().bytes
    assert fetch(s3, listed(bucket, key, body)) == body


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "a/../b", "./a", "a\nb", "a\x7fb"])
def test_keys_that_obstore_refuses_are_told_apart(key: str) -> None:
    assert not is_plain_key(key)


@pytest.mark.parametrize("key", ["images/cat.jpg", "images/odd\tkey.jpg"])
def test_a_deleted_object_is_missing_and_a_replaced_one_changed(s3: S3Client, bucket: Bucket, key: str) -> None:
    row = listed(bucket, key, b"first")
    bucket.put(key, b"other")
    with pytest.raises(ImageError) as changed:
        fetch(s3, row)
    s3.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(ImageError) as missing:
        fetch(s3, row)
    assert (changed.value.status, missing.value.status) == ("changed", "missing")


@pytest.mark.parametrize("key", ["images/cat.jpg", "images/odd\tkey.jpg"])
def test_a_body_of_another_length_than_listed_is_no_image(s3: S3Client, bucket: Bucket, key: str) -> None:
    row = listed(bucket, key, b"12345")
    row = ManifestRow(row.bucket, row.key, row.etag, 9, row.split, row.labels, row.status)
    with pytest.raises(OSError, match="was listed with 9 bytes but arrives with 5"):
        fetch(s3, row)


def test_the_clients_endpoint_stands_above_the_environment(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    row = listed(bucket, "images/cat.jpg", b"12345")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    assert fetch(s3, row) == b"12345"


def test_a_server_that_is_gone_is_an_error_and_not_a_bad_image(bucket: Bucket, unused_tcp_port: int) -> None:
    row = listed(bucket, "images/odd\tkey.jpg", b"12345")
    gone = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{unused_tcp_port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=boto3.session.Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(Exception, match="Could not connect"):
        fetch(gone, row)
