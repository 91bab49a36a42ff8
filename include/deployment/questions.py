"""Images that a person asks several versions about: kept in S3, answered by the endpoint, and by batch transforms.

An endpoint answers with one version. To hear another one, no second endpoint is started, which would cost money until
somebody remembers it: `predict_images` answers with any registered version and ends. What belongs to one question lies
under `s3://OUTPUT/predictions/question-DATASET-ID/`:

    images/000-cat.jpg                 as the person gave it; `clean_up` removes the images of old questions
    endpoint/000-cat.jpg.json          what the endpoint answered
    version-3/predictions.parquet      what version 3 answered, written by `predict_images`
"""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.run_conf.fields import NAME_PATTERN

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.settings import Settings

MOST_IMAGES = 24
"""Images of one question."""
MOST_CLASSES = 5
TABLE = "predictions.parquet"
_ID = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[0-9]{3}-[A-Za-z0-9._-]{1,80}")
_VERSION = re.compile(r"version-([0-9]{1,9})/predictions\.parquet")
_RUN = re.compile(r"question__([0-9a-f]{16})__([0-9]{1,9})__")


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
        if not _ID.fullmatch(self.id) or not re.fullmatch(NAME_PATTERN, self.dataset):
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
    found = _RUN.match(run_id)
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
    if not _NAME.fullmatch(name):
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
        if found := _VERSION.fullmatch(key):
            by_version[True, int(found[1])] = dict(_predictions(_content(s3, question, key)))
    names = sorted({*kept, *(name for heard in by_version.values() for name in heard)})
    return Asked(
        images={name: name in kept for name in names if _NAME.fullmatch(name)},
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
