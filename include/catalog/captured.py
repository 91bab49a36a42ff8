"""The newest requests that an endpoint's data capture has kept in S3, with their answers.

Source: docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html: JSON Lines under
`DESTINATION/ENDPOINT/VARIANT/yyyy/mm/dd/hh/`, a body as text or in base64. Deployments of this project capture to
`s3://OUTPUT/captured/ENDPOINT`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.evaluation.prediction import PredictionError, content_type, ranked, read_probabilities

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.settings import Settings

MOST_REQUESTS = 24
"""Requests that a page shows."""
LARGEST_FILE = 32_000_000
"""Bytes of a file of captured requests that is read: AWS collects those of about a minute in one."""
LARGEST_IMAGE = 2_000_000
"""Bytes of a captured image that is kept for a page."""
MOST_FILES = 50
"""Files that are read for one page: under little traffic each holds one request."""
MOST_CLASSES = 3
HOUR_FOLDERS = 4
"""Year, month, day, hour: the folders below a variant's."""


@dataclass(frozen=True)
class CapturedRequest:
    """One request: `classes` are the most probable ones of its answer, `problem` is why it has none.

    `image` is empty if only answers are captured, or if it is too large for a page.
    """

    event: str
    at: datetime
    variant: str
    image: bytes = field(default=b"", repr=False)
    classes: tuple[tuple[str, float], ...] = ()
    problem: str = ""

    @property
    def content_type(self) -> str:
        """Of the image."""
        return content_type(self.image)


def newest_captured(
    s3: S3Client, settings: Settings, endpoint: str, labels: Sequence[str]
) -> tuple[CapturedRequest, ...]:
    """The newest captured requests of an endpoint, the newest first; `labels` are the classes of what it serves."""
    prefix = f"captured/{endpoint}/{endpoint}/"
    found: list[CapturedRequest] = []
    for variant in _folders(s3, settings.output_bucket, prefix):
        name = variant.removeprefix(prefix).rstrip("/")
        files = _newest_files(s3, settings.output_bucket, variant, HOUR_FOLDERS)
        of_variant = 0
        for count, (key, size) in enumerate(files):
            if of_variant >= MOST_REQUESTS or count == MOST_FILES:
                break
            if size <= LARGEST_FILE:
                content = s3.get_object(Bucket=settings.output_bucket, Key=key)["Body"].read()
                requests = list(_requests(content, name, labels))
                of_variant += len(requests)
                found += requests
    found.sort(key=lambda request: request.at, reverse=True)
    return tuple(found[:MOST_REQUESTS])


def _newest_files(s3: S3Client, bucket: str, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    """Keys and sizes below a folder of this many levels, the newest first.

    Folders and files are called after the time, the latter as `MINUTE-SECOND-MILLISECOND-ID.jsonl`.
    """
    if depth:
        for folder in reversed(_folders(s3, bucket, prefix)):
            yield from _newest_files(s3, bucket, folder, depth - 1)
        return
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    files = [(entry["Key"], entry["Size"]) for page in pages for entry in page.get("Contents", ())]
    yield from sorted(files, reverse=True)


def _folders(s3: S3Client, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    return [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]


def _requests(content: bytes, variant: str, labels: Sequence[str]) -> Iterator[CapturedRequest]:
    for line in content.splitlines():
        try:
            document = json.loads(line)
            about, captured = document["eventMetadata"], document["captureData"]
            at = datetime.fromisoformat(about["inferenceTime"])
            asked, answered = _body(captured.get("endpointInput")), _body(captured.get("endpointOutput"))
            event = str(about["eventId"])
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            continue  # another writer's line
        classes, problem = _classes(answered, labels)
        image = asked if len(asked) <= LARGEST_IMAGE else b""
        yield CapturedRequest(event, at, variant, image, classes, problem)


def _body(part: Mapping[str, Any] | None) -> bytes:
    if part is None:
        return b""
    data = str(part["data"])
    return base64.b64decode(data, validate=True) if part.get("encoding") == "BASE64" else data.encode()


def _classes(answered: bytes, labels: Sequence[str]) -> tuple[tuple[tuple[str, float], ...], str]:
    if not answered:
        return (), "no answer is captured"
    try:
        values = read_probabilities(answered, origin="The endpoint")
    except PredictionError as error:
        return (), str(error)
    if len(values) != len(labels):  # another model served at that time
        labels = [f"class {index}" for index in range(len(values))]
    return tuple(ranked(values, labels, MOST_CLASSES)), ""
