"""What moto answers, with what the local AWS mends of it."""

from __future__ import annotations

import time
import urllib.request
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.local_aws import BUCKET, RunningLocalAws


def test_what_moto_fails_on_names_the_action_and_is_not_retried(local_aws: RunningLocalAws, s3: Any) -> None:
    with pytest.raises(ClientError) as refused:
        s3.select_object_content(
            Bucket=BUCKET,
            Key="data/train/train.rec",
            Expression="select",
            ExpressionType="SQL",
            InputSerialization={},
            OutputSerialization={},
        )
    assert refused.value.response["Error"]["Code"] == "InternalFailure"
    assert "s3:SelectObjectContent" in refused.value.response["Error"]["Message"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_absent_objects_stay_what_they_are_on_s3(s3: Any) -> None:
    with pytest.raises(ClientError) as absent:
        s3.head_object(Bucket=BUCKET, Key="absent")
    assert absent.value.response["Error"]["Code"] == "404"
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=BUCKET, Key="absent")


def test_no_answer_about_an_absent_bucket_is_a_page(s3: Any) -> None:
    with pytest.raises(ClientError) as absent:
        s3.put_bucket_versioning(Bucket="absent-bucket", VersioningConfiguration={"Status": "Enabled"})
    assert absent.value.response["Error"]["Code"] == "NoSuchBucket"
    with pytest.raises(ClientError) as absent:
        s3.head_bucket(Bucket="absent-bucket")
    assert "html" not in absent.value.response["ResponseMetadata"]["HTTPHeaders"].get("content-type", "")


def test_who_signs_nothing_is_told_that_access_is_denied(local_aws: RunningLocalAws, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="private", Body=b"x")
    nobody = boto3.client(
        "s3", region_name="us-east-1", endpoint_url=local_aws.url, config=Config(signature_version=UNSIGNED)
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        nobody.get_object(Bucket=BUCKET, Key="private")


@pytest.mark.parametrize(
    ("asked", "got"),
    [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=8-100", b"89"), ("bytes=-3", b"789"), ("bytes=0-0", b"0")],
)
def test_ranges_of_objects(s3: Any, asked: str, got: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key="digits", Body=b"0123456789")
    answer = s3.get_object(Bucket=BUCKET, Key="digits", Range=asked)
    assert answer["Body"].read() == got
    start = b"0123456789".index(got)
    assert answer["ContentRange"] == f"bytes {start}-{start + len(got) - 1}/10"


def test_keys_may_hold_newlines(s3: Any) -> None:
    key = "odd/two\nlines\ttab.jpg"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"odd")

    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"odd"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix="odd/")["Contents"]] == [key]


def test_a_presigned_url_takes_bytes_that_are_called_a_form(s3: Any) -> None:
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "presigned"})
    with urllib.request.urlopen(urllib.request.Request(url, data=b"bytes", method="PUT")) as answer:
        assert answer.status == 200
    assert s3.get_object(Bucket=BUCKET, Key="presigned")["Body"].read() == b"bytes"


def test_a_range_behind_the_end_is_refused(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="digits", Body=b"0123456789")
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket=BUCKET, Key="digits", Range="bytes=10-")


def messages(logs: Any, group: str, **streams: Any) -> list[str]:
    found = logs.filter_log_events(logGroupName=group, **streams)["events"]
    return [event["message"] for event in found]


def test_events_are_found_by_the_prefix_of_their_streams(logs: Any) -> None:
    group = f"/group/{uuid4()}"
    logs.create_log_group(logGroupName=group)
    for stream in ("a/one", "a/two", "ab/one"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [{"timestamp": int(time.time() * 1000), "message": stream}]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)

    assert sorted(messages(logs, group, logStreamNamePrefix="a/")) == ["a/one", "a/two"]
    assert messages(logs, group, logStreamNamePrefix="c/") == []
    assert sorted(messages(logs, group, logStreamNames=["a/one", "ab/one"])) == ["a/one", "ab/one"]
    assert len(messages(logs, group)) == 3
