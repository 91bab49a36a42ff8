"""Images that models were asked about: captured requests, read from the lines that AWS writes, and questions in S3."""

from __future__ import annotations

import base64
import io
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.catalog.asked_images import (
    MOST_REQUESTS,
    Answers,
    Asked,
    Heard,
    NoQuestionError,
    Question,
    asking_run,
    keep_answer,
    keep_image,
    newest_captured,
    read_image,
    read_question,
)
from include.evaluation.batch_prediction import PREDICTIONS
from include.settings import Settings
from tests.support.dataset_bucket import Bucket
from tests.support.documents import VARIABLE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BEGAN = datetime(2026, 11, 29, 22, 50, tzinfo=UTC)
IMAGE = b"\xff\xd8\xffpicture"
CAT = Heard((("cat", 0.9), ("dog", 0.1)), 12.5)


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


@pytest.fixture
def question(bucket: Bucket) -> Question:
    settings = Settings.from_variable({**VARIABLE, "output_bucket": bucket.name})
    return Question.new(settings, "pets")


def test_a_question_has_its_images_and_what_each_version_has_answered(s3: S3Client, question: Question) -> None:
    names = [keep_image(s3, question, place, name, b"image") for place, name in enumerate(["a cat.jpg", "owl.png"])]
    keep_answer(s3, question, names[0], CAT, 3)
    rows = [
        {"key": f"{question.prefix}images/{names[0]}", "top_labels": ["dog"], "top_probabilities": [0.8]},
        {"key": f"{question.prefix}images/{names[1]}", "status": "unreadable", "reason": "no image"},
    ]
    rows = [dict.fromkeys(PREDICTIONS.names) | row for row in rows]
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), table)
    s3.put_object(Bucket=question.bucket, Key=f"{question.prefix}version-2/predictions.parquet", Body=table.getvalue())

    asked = read_question(s3, question)

    assert names == ["000-a_cat.jpg", "001-owl.png"]
    assert asked == Asked(
        images={names[0]: True, names[1]: True},
        answers=(
            Answers(3, from_endpoint=True, heard={names[0]: CAT}),
            Answers(
                2,
                from_endpoint=False,
                heard={names[0]: Heard((("dog", 0.8),)), names[1]: Heard(problem="unreadable: no image")},
            ),
        ),
    )
    assert question.answers_uri(2) == f"s3://{question.bucket}/{question.prefix}version-2/"


def test_answers_stay_after_the_images_were_removed(s3: S3Client, question: Question) -> None:
    name = keep_image(s3, question, 0, "cat.jpg", b"image")
    keep_answer(s3, question, name, CAT, 3)
    s3.delete_object(Bucket=question.bucket, Key=f"{question.prefix}images/{name}")

    assert read_question(s3, question).images == {name: False}
    with pytest.raises(NoQuestionError, match="no longer stored"):
        read_image(s3, question, name)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../jobs/model.tar.gz", "000-model.tar.gz"),
        ("C:\\pictures\\cat.jpg", "000-cat.jpg"),
        ("https://example.com/a/cat.jpg", "000-cat.jpg"),
        ("katze-\u00fc\u202e.jpg", "000-katze-__.jpg"),
        (".hidden", "000-hidden"),
        ("...", "000-image"),
        ("x" * 200, f"000-{'x' * 80}"),
    ],
)
def test_an_image_keeps_a_plain_name(given: str, kept: str, s3: S3Client, question: Question) -> None:
    assert keep_image(s3, question, 0, given, b"image") == kept
    assert read_image(s3, question, kept) == b"image"


@pytest.mark.parametrize(("dataset", "number"), [("pets", "../../jobs"), ("pets", "0" * 15), ("pe/ts", "0" * 16)])
def test_no_other_name_is_a_question(dataset: str, number: str) -> None:
    with pytest.raises(NoQuestionError):
        Question("bucket", dataset, number)


def test_an_image_of_another_name_is_not_read(s3: S3Client, question: Question) -> None:
    with pytest.raises(NoQuestionError):
        read_image(s3, question, "../endpoint/000-cat.jpg.json")
    with pytest.raises(NoQuestionError, match="Nothing is stored"):
        read_question(s3, question)


def test_a_run_is_known_by_the_question_that_it_asks(question: Question) -> None:
    assert asking_run(question.run_id(12, "2026-01-02T03:04:05")) == (question.id, 12)
    assert asking_run("manual__2026-01-02T03:04:05+00:00") is None
