"""Whether an endpoint answers as the model did: the endpoint tells shades of grey apart by brightness."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from image_classification.stages.deployment import known_answers
from include.datasets.errors import DatasetError
from include.datasets.image_objects import write_source_test_images
from include.datasets.version import HeldOutImage, held_out_images
from include.deployment.registry import RegisteredModel
from include.deployment.smoke_test import IMAGES, SmokeTest, smoke_test_of
from include.evaluation.held_out_answers import HeldOutAnswers, Sent
from include.evaluation.prediction import LARGEST_BODY, PredictionError
from tests.support.documents import VARIABLE
from tests.unit.evaluation.conftest import World, classify

REPORT = f"s3://{VARIABLE['output_bucket']}/reports/run/report.html"


def registered(world: World, *, accuracy: float = 0.9, report: str | None = REPORT) -> RegisteredModel:
    return RegisteredModel(
        arn="arn:aws:sagemaker:eu-central-1:123456789012:model-package/shades/1",
        group="shades",
        version=1,
        approval="Approved",
        artifact="s3://models-of-acme/model.tar.gz",
        image="image",
        job="job",
        dataset="shades",
        dataset_version=world.dataset.version,
        dataset_uri=world.dataset.uri,
        accuracy=accuracy,
        report=report,
    )


def evaluated(
    world: World, *, model: str = "job", off_by: float = 0.0, swapped: bool = False, sent: Sent = "packed"
) -> None:
    """Keep answers of an evaluation: the endpoint's own, with every probability off a little, or classes swapped."""
    images, answers = [], []
    for image in held_out_images(world.s3, world.dataset):
        values = classify(image.image_bytes)
        first, *rest = values
        answers.append([*rest, first] if swapped else [value + off_by for value in values])
        images.append((image.id, image.key, image.labels))
    labels, uri = world.dataset.labels, world.dataset.uri
    kept = HeldOutAnswers.of(images, answers, model=model, dataset=uri, labels=labels, multi_label=False, sent=sent)
    world.s3.put_object(Bucket=VARIABLE["output_bucket"], Key="reports/run/predictions.parquet", Body=kept.to_parquet())


@pytest.fixture(autouse=True)
def no_answers(world: World) -> None:
    world.s3.delete_object(Bucket=VARIABLE["output_bucket"], Key="reports/run/predictions.parquet")


class Constant:
    """An endpoint that answers every image alike."""

    def __init__(self, values: Sequence[float]) -> None:
        self.body = str(list(values)).encode()

    def invoke_endpoint(self, **_: Any) -> Any:
        return {"Body": self}

    def read(self) -> bytes:
        return self.body


def test_the_models_own_answers_pass(world: World, runtime: Any) -> None:
    evaluated(world, off_by=0.04)
    test = smoke_test_of(world.s3, registered(world), world.dataset)
    assert test.differences(runtime, "shades") == []
    assert 0 < len(test.images) == len(test.answers) <= IMAGES


def test_images_of_every_class_are_tested(world: World) -> None:
    test = smoke_test_of(world.s3, registered(world), world.dataset)
    counts = Counter(image.label for image in test.images)
    assert set(counts) == {0, 1, 2}
    assert max(counts.values()) <= 6


@pytest.mark.parametrize("change", [{"swapped": True}, {"off_by": 0.06}])
def test_other_answers_are_named_with_the_image_and_both_answers(
    world: World, runtime: Any, change: dict[str, Any]
) -> None:
    evaluated(world, **change)
    test = smoke_test_of(world.s3, registered(world), world.dataset)
    differences = test.differences(runtime, "shades")
    assert len(differences) == 3
    key = test.images[0].key
    assert differences[0].startswith(f"{key} is ")
    assert differences[0].endswith(" in the evaluation")


def test_a_weak_model_passes_with_its_own_wrong_answers(world: World) -> None:
    evaluated(world)
    test = smoke_test_of(world.s3, registered(world, accuracy=1.0), world.dataset)
    same = {image.id: [0.2, 0.5, 0.3] for image in test.images}
    wrong = type(test)(test.images, test.labels, test.multi_label, same, test.accuracy)
    assert wrong.differences(Constant([0.2, 0.5, 0.3]), "shades") == []  # type: ignore[arg-type]


def test_an_image_that_is_not_answered_is_a_difference(world: World) -> None:
    class Broken:
        def invoke_endpoint(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "ModelError", "Message": "500"}}, "InvokeEndpoint")

    test = smoke_test_of(world.s3, registered(world), world.dataset)
    differences = test.differences(Broken(), "shades")  # type: ignore[arg-type]
    assert len(differences) == 3
    assert "got no answer (An error occurred (ModelError)" in differences[0]


def test_an_answer_of_another_number_of_classes_is_a_difference(world: World) -> None:
    test = smoke_test_of(world.s3, registered(world), world.dataset)
    first, *_ = test.differences(Constant([0.5, 0.5]), "shades")  # type: ignore[arg-type]
    assert "answered 2 probabilities, the dataset has 3 classes" in first


@pytest.mark.parametrize("known", ["nothing", "another model", "source images", "no report"])
def test_without_its_answers_the_right_labels_are_counted(
    world: World, runtime: Any, known: str, caplog: pytest.LogCaptureFixture
) -> None:
    if known == "another model":
        evaluated(world, model="another-job", swapped=True)
    if known == "source images":
        evaluated(world, swapped=True, sent="source")
    model = registered(world, report=None if known == "no report" else REPORT)
    with caplog.at_level(logging.WARNING):
        test = smoke_test_of(world.s3, model, world.dataset)
    assert test.differences(runtime, "shades") == []
    always_dark = Constant([1.0, 0.0, 0.0])
    (difference,) = test.differences(always_dark, "shades")  # type: ignore[arg-type]
    right = sum(image.label == 0 for image in test.images)
    assert difference == f"{right} of {len(test.images)} images are right, but the model has an accuracy of 0.9000"
    assert ("counts right labels" in caplog.text) is (known != "no report")


@pytest.fixture
def copied_sources(world: World) -> Iterator[dict[str, bytes]]:
    """The source images as an evaluation copies them, by key; the sources themselves are replaced afterwards."""
    layout, bucket = world.dataset.layout, VARIABLE["data_bucket"]
    write_source_test_images(world.s3, world.dataset, largest=LARGEST_BODY)
    sources = {}
    for image in held_out_images(world.s3, world.dataset):
        sources[image.key] = world.read(f"s3://{bucket}/{image.key}")
        world.s3.put_object(Bucket=bucket, Key=image.key, Body=b"another picture")
    yield sources
    for key, body in sources.items():
        world.s3.put_object(Bucket=bucket, Key=key, Body=body)
    for prefix in (layout.source_test_images, layout.unsent_test_images):
        for entry in world.s3.list_objects_v2(Bucket=layout.bucket, Prefix=prefix)["Contents"]:
            world.s3.delete_object(Bucket=layout.bucket, Key=entry["Key"])


def test_a_model_that_was_asked_about_source_images_gets_the_same_bytes(
    world: World, runtime: Any, copied_sources: dict[str, bytes]
) -> None:
    evaluated(world, off_by=0.04, sent="source")
    test = smoke_test_of(world.s3, registered(world), world.dataset)
    assert 0 < len(test.images) == len(test.answers)
    assert [image.image_bytes for image in test.images] == [copied_sources[image.key] for image in test.images]
    assert test.differences(runtime, "shades") == []
    evaluated(world, swapped=True, sent="source")
    swapped = smoke_test_of(world.s3, registered(world), world.dataset)
    assert swapped.differences(runtime, "shades")[0].endswith(" in the evaluation")


def several_labels(accuracy: float) -> SmokeTest:
    """Eight images of four classes, of which each shows two; what a model answered is not known."""
    shown = ((1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0))
    images = tuple(HeldOutImage(place, f"{place}.jpg", shown[place % 2], b"\xff\xd8") for place in range(8))
    return SmokeTest(images, ("a", "b", "c", "d"), multi_label=True, answers={}, accuracy=accuracy)


def test_without_its_answers_right_ones_of_a_multi_label_model_are_counted() -> None:
    everything, half = Constant([0.9, 0.9, 0.9, 0.9]), Constant([0.9, 0.9, 0.2, 0.2])
    for wrong in (everything, half):
        assert several_labels(0.95).differences(wrong, "scenes") == [  # type: ignore[arg-type]
            "50.0% of the answers to 8 images, one for each class, are right, but the model has an accuracy of 0.9500"
        ]
        assert several_labels(0.6).differences(wrong, "scenes") == []  # type: ignore[arg-type]
    nearly = SmokeTest(several_labels(0.95).images[::2], ("a", "b", "c", "d"), True, {}, 0.95)
    assert nearly.differences(Constant([0.9, 0.9, 0.2, 0.7]), "scenes") == []  # type: ignore[arg-type]


def test_an_endpoint_to_which_no_image_can_be_sent_is_not_deployed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.deployment.smoke_test.fits_endpoint", lambda _: False)
    with pytest.raises(PredictionError, match=r"None of the \d+ test images .* is not changed: set dataset\.packing"):
        smoke_test_of(world.s3, registered(world), world.dataset)
    running: Any = SimpleNamespace(client=lambda _: world.s3)
    documents = {"model": registered(world).model_dump(), "dataset": world.dataset.model_dump()}
    with pytest.raises(AirflowFailException, match="an endpoint cannot be tested"):
        known_answers(running, documents)


def test_images_that_can_be_sent_are_found_behind_many_that_cannot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, last = (image.image_bytes for image in held_out_images(world.s3, world.dataset))
    monkeypatch.setattr("include.deployment.smoke_test.MOST_READ", 1)
    monkeypatch.setattr("include.deployment.smoke_test.fits_endpoint", lambda image: image == last)
    test = smoke_test_of(world.s3, registered(world), world.dataset)
    assert [image.image_bytes for image in test.images] == [last]


def test_a_model_that_was_never_good_is_not_failed_for_it(world: World) -> None:
    test = smoke_test_of(world.s3, registered(world, accuracy=0.4), world.dataset)
    assert test.differences(Constant([1.0, 0.0, 0.0]), "shades") == []  # type: ignore[arg-type]


def test_a_version_without_test_images_is_an_error_before_anything_changes(world: World) -> None:
    counts = world.dataset.counts.model_copy(update={"test": 0})
    with pytest.raises(DatasetError):
        smoke_test_of(world.s3, registered(world), world.dataset.model_copy(update={"counts": counts}))
