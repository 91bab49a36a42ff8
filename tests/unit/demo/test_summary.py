from __future__ import annotations

import io
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from demo.summary import SummaryError, right_by_class

VERSION = {"uri": "s3://photos/datasets/pets/v1/", "labels": ["cat", "dog"]}
ROWS = [
    {"record_id": 7, "split": "test", "status": "packed", "labels": ["cat"]},
    {"record_id": 8, "split": "test", "status": "packed", "labels": ["dog"]},
    {"record_id": 9, "split": "train", "status": "packed", "labels": ["dog"]},
    {"record_id": None, "split": None, "status": "corrupt", "labels": ["dog"]},
]


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="photos")
        manifest = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(ROWS), manifest)
        client.put_object(Bucket="photos", Key="datasets/pets/v1/manifest.parquet", Body=manifest.getvalue())
        yield client


def put(s3: Any, name: str, body: bytes, content_type: str) -> None:
    key = f"datasets/pets/v1/images/test/{name}"
    s3.put_object(Bucket="photos", Key=key, Body=body, ContentType=content_type)


def test_the_endpoint_is_sent_the_packed_images(s3: Any) -> None:
    put(s3, "0000000007.jpg", b"a cat", "image/jpeg")
    put(s3, "0000000008.png", b"a cat again", "image/png")
    asked: list[tuple[str, bytes]] = []

    def invoke(**request: Any) -> dict[str, Any]:
        asked.append((request["ContentType"], request["Body"]))
        return {"Body": io.BytesIO(json.dumps([0.9, 0.1]).encode())}

    runtime: Any = SimpleNamespace(invoke_endpoint=invoke)
    assert right_by_class(s3, runtime, "pets", VERSION) == {"cat": [True], "dog": [False]}
    assert sorted(asked) == [("image/jpeg", b"a cat"), ("image/png", b"a cat again")]


def test_test_images_that_were_not_written_are_an_error(s3: Any) -> None:
    put(s3, "0000000007.jpg", b"a cat", "image/jpeg")
    with pytest.raises(
        SummaryError, match=r"has 2 test images, and 1 lie at s3://photos/datasets/pets/v1/images/test/"
    ):
        right_by_class(s3, SimpleNamespace(), "pets", VERSION)  # type: ignore[arg-type]
