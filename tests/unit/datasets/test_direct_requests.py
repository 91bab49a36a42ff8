"""An S3 client that calls the tests' server without a socket gets what any other client of the server gets."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.dataset_bucket import Bucket, application
from tests.support.direct_requests import answer_directly

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEYS = ("a/plain.jpg", "a/new\nline + %41 &?#.jpg", "ä/ö.jpg")


@pytest.fixture
def over_a_socket(endpoint: str) -> S3Client:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client: S3Client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    return client


@pytest.fixture
def direct(endpoint: str) -> S3Client:
    """A client of its own: listing large prefixes teaches a client to read less of each answer."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client: S3Client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    answer_directly(client, application())
    return client


def seen(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says beside how it came."""
    answer.pop("ResponseMetadata")
    return {name: value.read() if hasattr(value, "read") else value for name, value in answer.items()}


@pytest.mark.parametrize("key", KEYS)
def test_an_object_is_the_same(bucket: Bucket, direct: S3Client, over_a_socket: S3Client, key: str) -> None:
    direct.put_object(Bucket=bucket.name, Key=key, Body=io.BytesIO(b"0123456789"), ContentType="image/jpeg")
    of = {"Bucket": bucket.name, "Key": key}

    for ask in ("head_object", "get_object"):
        assert seen(getattr(direct, ask)(**of)) == seen(getattr(over_a_socket, ask)(**of))
    assert direct.get_object(**of, Range="bytes=2-4")["Body"].read() == b"234"
    listing = {"Bucket": bucket.name}
    assert seen(direct.list_objects_v2(**listing)) == seen(over_a_socket.list_objects_v2(**listing))


def test_a_refusal_is_the_same(bucket: Bucket, direct: S3Client, over_a_socket: S3Client) -> None:
    refusals = []
    for client in (direct, over_a_socket):
        with pytest.raises(ClientError) as refused:
            client.get_object(Bucket=bucket.name, Key="none")
        refusals.append((refused.value.response["Error"], refused.value.response["ResponseMetadata"]["HTTPStatusCode"]))
    assert refusals[0] == refusals[1]
