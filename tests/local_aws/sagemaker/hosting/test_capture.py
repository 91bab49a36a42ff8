"""What an endpoint was asked and answered, in S3."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from local_aws.sagemaker.hosting import capture
from local_aws.sagemaker.hosting.capture import Body, Capture, Captured, CaptureFeed
from local_aws.storage import S3Location
from tests.local_aws.sagemaker.conftest import BUCKET, Scripted, unique
from tests.support.local_aws import eventually

MOMENT = datetime(2026, 11, 29, 7, 8, 9, 12_000, tzinfo=UTC)
PLACE = S3Location("captures", "line/pets/all")
IMAGE = Body("image/jpeg", b"\xff\xd8picture")
ANSWER = Body("application/json; charset=utf-8", b'[0.5, "\xc3\xa4"]')
CONFIG: dict[str, Any] = {
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://captures/line",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"], "CsvContentTypes": ["text/csv"]},
}


class Waiting(CaptureFeed):
    """A feed that keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[Captured] = []

    def put(self, captured: Captured) -> None:
        self.taken.append(captured)


def captured(config: dict[str, Any], **dice: Any) -> list[Captured]:
    """What is captured of one invocation under a configuration, whose place is the endpoint's and variant's."""
    feed = Waiting()
    wanted = Capture.of({**CONFIG, **config}, feed, "pets", "all")
    if wanted is not None:
        assert wanted.place == PLACE
        wanted.take(IMAGE, ANSWER, None)
    return feed.taken


def test_a_line_has_the_form_that_model_monitor_reads() -> None:
    (taken,) = captured({})
    event = json.loads(Captured(PLACE, taken.input, taken.output, taken.encodings, "order 66", MOMENT).line())
    assert re.fullmatch(r"[0-9a-f-]{36}", event["eventMetadata"].pop("eventId"))
    assert event == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "image/jpeg",
                "mode": "INPUT",
                "data": base64.b64encode(IMAGE.content).decode(),
                "encoding": "BASE64",
            },
            "endpointOutput": {
                "observedContentType": "application/json; charset=utf-8",
                "mode": "OUTPUT",
                "data": '[0.5, "ä"]',
                "encoding": "JSON",
            },
        },
        "eventMetadata": {"inferenceId": "order 66", "inferenceTime": "2026-11-29T07:08:09Z"},
        "eventVersion": "0",
    }


def test_csv_is_text_too_and_without_content_types_all_is_base64() -> None:
    text = Body("TEXT/CSV", b"1,2")
    lines = [
        json.loads(Captured(PLACE, text, None, encodings).line())["captureData"]["endpointInput"]
        for encodings in ({"text/csv": "CSV"}, {})
    ]
    assert [(line["encoding"], line["data"]) for line in lines] == [("CSV", "1,2"), ("BASE64", "MSwy")]


@pytest.mark.parametrize(
    ("modes", "parts"),
    [(["Input"], (True, False)), (["Output"], (False, True)), (["InputAndOutput"], (True, True))],
)
def test_only_the_directions_asked_for_are_captured(modes: list[str], parts: tuple[bool, bool]) -> None:
    (taken,) = captured({"CaptureOptions": [{"CaptureMode": mode} for mode in modes]})
    assert (taken.input is not None, taken.output is not None) == parts
    assert list(json.loads(taken.line())["captureData"]) == [
        name for name, is_there in zip(("endpointInput", "endpointOutput"), parts, strict=True) if is_there
    ]


@pytest.mark.parametrize(("percent", "drawn", "count"), [(0, 0.0, 0), (25, 0.24, 1), (25, 0.25, 0), (100, 0.999, 1)])
def test_a_percentage_of_the_invocations_is_captured(percent: int, drawn: float, count: int) -> None:
    feed = Waiting()
    Capture(percent, frozenset({"Input"}), {}, PLACE, feed, dice=lambda: drawn).take(IMAGE, ANSWER, None)
    assert len(feed.taken) == count


def test_nothing_is_captured_where_it_is_switched_off() -> None:
    assert captured({"EnableCapture": False}) == []
    assert Capture.of(None, Waiting(), "pets", "all") is None


class Bucket:
    """An S3 client that keeps what is put, and waits or fails if told to."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.open = threading.Event()
        self.open.set()
        self.refused = 0

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        self.open.wait()
        if Bucket == "nowhere":
            self.refused += 1
            raise ClientError({"Error": {"Code": "NoSuchBucket", "Message": "absent"}}, "PutObject")
        self.objects[Key] = [json.loads(line) for line in Body.decode().splitlines()]


def feed_into(bucket: Bucket) -> CaptureFeed:
    return CaptureFeed(cast(Any, SimpleNamespace(s3=bucket)))


def test_invocations_of_a_moment_are_lines_of_one_object_under_their_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "BATCH_SECONDS", 0.2)
    bucket = Bucket()
    feed = feed_into(bucket)
    next_hour = MOMENT.replace(hour=8)
    for moment in (MOMENT, next_hour, MOMENT):
        feed.put(Captured(PLACE, IMAGE, ANSWER, {}, time=moment))
    eventually(lambda: len(bucket.objects) == 2)
    patterns = [rf"line/pets/all/2026/11/29/{hour}/08-09-012-[0-9a-f-]{{36}}\.jsonl" for hour in ("07", "08")]
    for pattern, key, count in zip(patterns, sorted(bucket.objects), (2, 1), strict=True):
        assert re.fullmatch(pattern, key)
        assert len(bucket.objects[key]) == count


def test_what_s3_refuses_is_logged_and_the_next_is_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture, "BATCH_SECONDS", 0.0)
    bucket = Bucket()
    feed = feed_into(bucket)
    with caplog.at_level(logging.WARNING):
        feed.put(Captured(S3Location("nowhere", "a"), IMAGE, ANSWER, {}))
        feed.put(Captured(PLACE, IMAGE, ANSWER, {}))
        eventually(lambda: bucket.objects)
    assert bucket.refused == 1
    assert "1 captured invocations are lost: s3://nowhere/a" in caplog.text


def test_a_slow_s3_costs_captures_and_never_an_invocation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(capture, "MOST_WAITING_BYTES", 2 * len(IMAGE.content))
    bucket = Bucket()
    bucket.open.clear()
    feed = feed_into(bucket)
    for _ in range(5):
        feed.put(Captured(PLACE, IMAGE, None, {}))
    assert caplog.text.count("is not captured: S3 is too slow") == 3
    bucket.open.set()
    eventually(lambda: sum(map(len, bucket.objects.values())) == 2)


def deployed(scripted: Scripted, control: Any, folder: str, **changes: Any) -> str:
    """An endpoint whose configuration captures everything below a folder."""
    name = unique("captured")
    variant = {"VariantName": "all", "ModelName": scripted.model(), "InstanceType": "ml.m5.large"}
    control.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        DataCaptureConfig={**CONFIG, "DestinationS3Uri": f"s3://{BUCKET}/{folder}", **changes},
    )
    control.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert scripted.settled(name)["EndpointStatus"] == "InService"
    return name


def events(scripted: Scripted, prefix: str) -> list[dict[str, Any]]:
    s3 = scripted.client("s3")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())]
    bodies = [s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def test_an_endpoint_captures_what_it_answers(scripted: Scripted, control: Any, runtime: Any) -> None:
    endpoint = deployed(scripted, control, "all-of-it")
    assert control.describe_endpoint(EndpointName=endpoint)["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/all-of-it",
        "KmsKeyId": "",
    }
    kept = control.describe_endpoint_config(EndpointConfigName=endpoint)["DataCaptureConfig"]
    assert kept == {**CONFIG, "DestinationS3Uri": f"s3://{BUCKET}/all-of-it"}
    with pytest.raises(runtime.exceptions.ModelError):
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"bad image")
    said = runtime.invoke_endpoint(
        EndpointName=endpoint, Body=b"image", ContentType="application/x-image", InferenceId="first"
    )["Body"].read()
    (event,) = eventually(lambda: events(scripted, f"all-of-it/{endpoint}/all/20"))
    assert event["eventMetadata"]["inferenceId"] == "first"
    assert event["captureData"]["endpointInput"]["data"] == base64.b64encode(b"image").decode()
    assert event["captureData"]["endpointOutput"] == {
        "observedContentType": "application/json",
        "mode": "OUTPUT",
        "data": said.decode(),
        "encoding": "JSON",
    }


def test_an_endpoint_answers_although_its_captures_cannot_be_written(
    scripted: Scripted, control: Any, runtime: Any
) -> None:
    endpoint = deployed(scripted, control, "x", DestinationS3Uri="s3://no-such-bucket/x", EnableCapture=True)
    for _ in range(3):
        assert runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")["ResponseMetadata"]["RetryAttempts"] == 0


def test_capture_stops_with_an_update_that_switches_it_off(scripted: Scripted, control: Any, runtime: Any) -> None:
    endpoint = deployed(scripted, control, "until-the-update")
    other = deployed(scripted, control, "until-the-update", EnableCapture=False)
    control.update_endpoint(EndpointName=endpoint, EndpointConfigName=other)
    described = scripted.settled(endpoint)["DataCaptureConfig"]
    assert (described["EnableCapture"], described["CaptureStatus"]) == (False, "Stopped")
    witness = deployed(scripted, control, "until-the-update/witness")
    for name in (endpoint, witness):
        runtime.invoke_endpoint(EndpointName=name, Body=b"image")
    eventually(lambda: events(scripted, f"until-the-update/witness/{witness}"))
    assert events(scripted, f"until-the-update/{endpoint}") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"InitialSamplingPercentage": 101}, "initialSamplingPercentage.*less than or equal to 100"),
        ({"CaptureOptions": [{"CaptureMode": "Both"}]}, "enum value set"),
        ({"DestinationS3Uri": "https://captures.s3.amazonaws.com/line"}, "is not available in the local AWS"),
    ],
)
def test_what_cannot_be_captured_is_refused(
    scripted: Scripted, control: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message) as refusal:
        deployed(scripted, control, "refused", **change)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_a_serverless_endpoint_captures_nothing(scripted: Scripted, control: Any) -> None:
    variant = {
        "VariantName": "all",
        "ModelName": scripted.model(),
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1},
    }
    with pytest.raises(ClientError, match="DataCaptureConfig can't be given for a serverless endpoint"):
        control.create_endpoint_config(
            EndpointConfigName=unique("config"), ProductionVariants=[variant], DataCaptureConfig=CONFIG
        )
