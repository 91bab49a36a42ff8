"""Captured requests, read from the lines that AWS writes."""

from __future__ import annotations

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.catalog.captured import MOST_REQUESTS, newest_captured
from include.settings import Settings
from tests.support.dataset_bucket import Bucket
from tests.support.documents import VARIABLE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BEGAN = datetime(2026, 11, 29, 22, 50, tzinfo=UTC)
IMAGE = b"\xff\xd8\xffpicture"


def line(at: datetime, answer: str = "[0.2, 0.8]", **changes: Any) -> str:
    """A line as AWS writes it: the image in base64, the answer as text."""
    asked = {"observedContentType": "image/jpeg", "mode": "INPUT", "encoding": "BASE64"}
    answered = {"observedContentType": "application/json", "mode": "OUTPUT", "encoding": "JSON", "data": answer}
    captured = {"endpointInput": {**asked, "data": base64.b64encode(IMAGE).decode()}, "endpointOutput": answered}
    about = {"eventId": str(uuid.uuid4()), "inferenceTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps({"captureData": {**captured, **changes}, "eventMetadata": about, "eventVersion": "0"})


@pytest.fixture
def settings(bucket: Bucket) -> Settings:
    return Settings.from_variable({**VARIABLE, "output_bucket": bucket.name})


def capture(bucket: Bucket, at: datetime, *lines: str) -> None:
    bucket.put(f"captured/pets/pets/champion/{at:%Y/%m/%d/%H/%M-%S}.jsonl", "\n".join(lines).encode())


def test_the_newest_requests_come_first_across_hours_and_days(s3: S3Client, bucket: Bucket, settings: Settings) -> None:
    moments = [BEGAN + timedelta(minutes=10 * number) for number in range(MOST_REQUESTS + 6)]
    for at in moments:
        capture(bucket, at, line(at))

    found = newest_captured(s3, settings, "pets", ["cat", "dog"])

    assert [request.at for request in found] == moments[::-1][:MOST_REQUESTS]
    assert found[0].classes == (("dog", 0.8), ("cat", 0.2))
    assert (found[0].image, found[0].content_type, found[0].variant) == (IMAGE, "image/jpeg", "champion")


def test_what_is_no_request_is_passed_over_and_what_has_no_answer_says_so(
    s3: S3Client, bucket: Bucket, settings: Settings
) -> None:
    without = line(BEGAN, endpointOutput=None)
    of_another_model = line(BEGAN, answer="[0.1, 0.2, 0.7]")
    not_an_answer = line(BEGAN, answer='{"error": "none"}')
    broken = line(BEGAN).replace('"data": "', '"data": "%')
    capture(bucket, BEGAN, "not JSON", "[]", "{}", broken, without, of_another_model, not_an_answer)

    found = newest_captured(s3, settings, "pets", ["cat", "dog"])

    assert [request.problem.partition(":")[0] for request in found] == [
        "no answer is captured",
        "",
        "The endpoint did not answer with a list of probabilities",
    ]
    assert found[1].classes[0] == ("class 2", 0.7)


def test_an_endpoint_without_captured_requests_has_none(s3: S3Client, settings: Settings) -> None:
    assert newest_captured(s3, settings, "pets", ["cat"]) == ()
