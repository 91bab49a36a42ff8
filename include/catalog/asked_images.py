"""Images that models were asked about, with the answers: captured requests to an endpoint, and questions of people.

Data capture keeps requests to an endpoint in S3. Source:
docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html: JSON Lines under
`DESTINATION/ENDPOINT/VARIANT/yyyy/mm/dd/hh/`, a body as text or in base64. Deployments of this project capture to
`s3://OUTPUT/captured/ENDPOINT`.

A person asks several versions about some images on a page. An endpoint answers with one version. To hear another one,
no second endpoint is started, which would cost money until somebody remembers it: `predict_images` answers with any
registered version and ends. What belongs to one question lies under `s3://OUTPUT/predictions/question-DATASET-ID/`:

    images/000-cat.jpg                 as the person gave it; `clean_up` removes the images of old questions
    endpoint/000-cat.jpg.json          what the endpoint answered
    version-3/predictions.parquet      what version 3 answered, written by `predict_images`
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.evaluation.prediction import PredictionError, content_type, ranked, read_probabilities
from include.run_conf.fields import NAME_PATTERN

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
CAPTURED_CLASSES = 3
"""Classes that a page shows of a captured answer."""
HOUR_FOLDERS = 4
"""Year, month, day, hour: the folders below a variant's."""
MOST_IMAGES = 24
"""Images of one question."""
MOST_CLASSES = 5
TABLE = "predictions.parquet"
_QUESTION_ID = re.compile(r"[0-9a-f]{16}")
_IMAGE_NAME = re.compile(r"[0-9]{3}-[A-Za-z0-9._-]{1,80}")
_ANSWERED_VERSION = re.compile(r"version-([0-9]{1,9})/predictions\.parquet")
_ASKING_RUN = re.compile(r"question__([0-9a-f]{16})__([0-9]{1,9})__")


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
    return tuple(ranked(values, labels, CAPTURED_CLASSES)), ""


class NoQuestionError(LookupError):
    """There is no such question, or no such image of it."""


@dataclass(frozen=True)
class Heard:
    """One answer about one image: the most probable classes first, or why there are none."""

    classes: tuple[tuple[str, float], ...] = ()
    milliseconds: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Answers:
    """The answers of one version by the names of the images; `from_endpoint` if the endpoint gave them."""

    version: int
    from_endpoint: bool
    heard: Mapping[str, Heard]


@dataclass(frozen=True)
class Asked:
    """What is known of a question now: its images by name, whether each is still kept, and the versions' answers."""

    images: Mapping[str, bool]
    answers: tuple[Answers, ...]


@dataclass(frozen=True)
class Question:
    """Where a question about a dataset's models lies. Raises NoQuestionError for names that no question has."""

    bucket: str
    dataset: str
    id: str

    def __post_init__(self) -> None:
        if not _QUESTION_ID.fullmatch(self.id) or not re.fullmatch(NAME_PATTERN, self.dataset):
            raise NoQuestionError(f"There is no question {self.id!r}.")

    @classmethod
    def new(cls, settings: Settings, dataset: str) -> Question:
        """A question that was not asked yet."""
        return cls(settings.output_bucket, dataset, secrets.token_hex(8))

    @property
    def prefix(self) -> str:
        """Of all its objects."""
        return f"predictions/question-{self.dataset}-{self.id}/"

    @property
    def images_uri(self) -> str:
        """The prefix of its images, as `predict_images` takes it."""
        return f"s3://{self.bucket}/{self.prefix}images/"

    def answers_uri(self, version: int) -> str:
        """The prefix under which `predict_images` writes what a version answered."""
        return f"s3://{self.bucket}/{self.prefix}version-{version}/"

    def run_id(self, version: int, moment: str) -> str:
        """The id of the run that asks a version."""
        return f"question__{self.id}__{version}__{moment}"


def asking_run(run_id: str) -> tuple[str, int] | None:
    """The question and the version that a run of `predict_images` asks; None if it is no such run."""
    found = _ASKING_RUN.match(run_id)
    return (found[1], int(found[2])) if found else None


def keep_image(s3: S3Client, question: Question, place: int, name: str, image: bytes) -> str:
    """Keep an image of a question, the first at place 0; returns the name that it has there."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(name.replace("\\", "/")).name)[-80:].lstrip(".") or "image"
    kept = f"{place:03}-{plain}"
    s3.put_object(Bucket=question.bucket, Key=f"{question.prefix}images/{kept}", Body=image)
    return kept


def keep_answer(s3: S3Client, question: Question, name: str, heard: Heard, version: int) -> None:
    """Keep what the endpoint, which serves `version`, answered about a kept image."""
    document = {
        "version": version,
        "classes": heard.classes[:MOST_CLASSES],
        "milliseconds": heard.milliseconds,
        "problem": heard.problem,
    }
    key = f"{question.prefix}endpoint/{name}.json"
    s3.put_object(Bucket=question.bucket, Key=key, Body=json.dumps(document).encode(), ContentType="application/json")


def read_image(s3: S3Client, question: Question, name: str) -> bytes:
    """A kept image. Raises NoQuestionError if there is none of this name."""
    if not _IMAGE_NAME.fullmatch(name):
        raise NoQuestionError(f"There is no image {name!r}.")
    try:
        return s3.get_object(Bucket=question.bucket, Key=f"{question.prefix}images/{name}")["Body"].read()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise NoQuestionError(f"The image {name} is no longer stored.") from error
        raise


def read_question(s3: S3Client, question: Question) -> Asked:
    """The question as it stands. Raises NoQuestionError if nothing is kept of it."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=question.bucket, Prefix=question.prefix)
    keys = [entry["Key"].removeprefix(question.prefix) for page in pages for entry in page.get("Contents", ())]
    if not keys:
        raise NoQuestionError(f"Nothing is stored of the question {question.id}.")
    kept = {key.removeprefix("images/") for key in keys if key.startswith("images/")}
    answered = [key for key in keys if key.startswith("endpoint/")]
    by_version: dict[tuple[bool, int], dict[str, Heard]] = {}
    for key in answered:
        version, heard = _endpoint_answer(_content(s3, question, key))
        name = key.removeprefix("endpoint/").removesuffix(".json")
        by_version.setdefault((False, version), {})[name] = heard
    for key in keys:
        if found := _ANSWERED_VERSION.fullmatch(key):
            by_version[True, int(found[1])] = dict(_predictions(_content(s3, question, key)))
    names = sorted({*kept, *(name for heard in by_version.values() for name in heard)})
    return Asked(
        images={name: name in kept for name in names if _IMAGE_NAME.fullmatch(name)},
        answers=tuple(
            Answers(version, from_endpoint=not later, heard=heard)
            for (later, version), heard in sorted(by_version.items())
        ),
    )


def _content(s3: S3Client, question: Question, key: str) -> bytes:
    return s3.get_object(Bucket=question.bucket, Key=f"{question.prefix}{key}")["Body"].read()


def _endpoint_answer(content: bytes) -> tuple[int, Heard]:
    document: dict[str, Any] = json.loads(content)
    classes = tuple((str(label), float(value)) for label, value in document["classes"])
    return int(document["version"]), Heard(classes, document["milliseconds"], document["problem"])


def _predictions(content: bytes) -> Iterator[tuple[str, Heard]]:
    # pyarrow takes half a second to load, and only finished questions have a table.
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = ["key", "top_labels", "top_probabilities", "status", "reason"]
    for row in pq.read_table(io.BytesIO(content), columns=columns).to_pylist():
        pairs = tuple(zip(row["top_labels"] or (), row["top_probabilities"] or (), strict=True))
        problem = "" if pairs else f"{row['status']}: {row['reason'] or 'it could not be packed'}"
        yield row["key"].rpartition("/")[2], Heard(pairs[:MOST_CLASSES], None, problem)
