from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from include.datasets.image_objects import write_packed_test_images
from include.datasets.version import DatasetVersion, HeldOutImage, held_out_images
from include.evaluation import endpoint_accuracy, prediction
from include.evaluation.endpoint_accuracy import endpoint_evaluation
from include.evaluation.prediction import (
    LARGEST_BODY,
    PredictionError,
    TransformError,
    content_type,
    payload_mb,
    predict_held_out,
    predict_source_image,
    prediction_of,
    probabilities,
    read_answers,
    read_manifest,
    transform_request,
    write_manifest,
)
from include.recordio.images import pack_image
from include.recordio.options import ImageOptions
from include.run_conf import RunConf
from include.sagemaker.containers import transform_instance_type
from include.sagemaker.naming import Run
from tests.support.documents import settings
from tests.unit.evaluation.conftest import square
from tests.unit.training.test_job_requests import assert_aws_takes


def test_the_endpoint_is_measured_on_every_held_out_image(world: Any, runtime: Any) -> None:
    measured = endpoint_evaluation(runtime, world.s3, endpoint="shades", dataset=world.dataset, concurrent=2)
    assert (measured.images, measured.accuracy) == (world.dataset.counts.test, 1.0)


def test_held_out_images_are_predicted_by_class_name(world: Any, runtime: Any) -> None:
    predictions = predict_held_out(runtime, world.s3, endpoint="shades", dataset=world.dataset, limit=3)
    assert len(predictions) == 3
    for one in predictions:
        assert one.image == f"images/{one.expected}/{one.image[-6:]}"
        assert one.label == one.expected
        assert one.correct
        assert 0.5 < one.probability <= 1


def test_a_model_with_other_classes_is_noticed(world: Any, runtime: Any) -> None:
    other = world.dataset.model_copy(update={"labels": ["a", "b"]})
    with pytest.raises(PredictionError) as refused:
        predict_held_out(runtime, world.s3, endpoint="shades", dataset=other, limit=1)
    assert str(refused.value) == (
        "endpoint shades answered 3 probabilities, the dataset has 2 classes: it serves a model of another dataset."
    )


def test_an_image_too_large_for_an_endpoint_is_not_sent(runtime: Any) -> None:
    with pytest.raises(PredictionError, match="has 6291457 bytes, and an endpoint takes at most 6291456: set"):
        probabilities(runtime, endpoint="shades", image=bytes(LARGEST_BODY + 1))


def heavy(images: list[HeldOutImage], places: set[int]) -> list[HeldOutImage]:
    """The same images; those at `places` carry so many bytes behind their end that no request holds them."""
    return [
        replace(image, image_bytes=image.image_bytes + bytes(LARGEST_BODY)) if place in places else image
        for place, image in enumerate(images)
    ]


@pytest.mark.parametrize("places", [{0}, {1, 4, 5}])
def test_test_images_above_what_an_endpoint_takes_are_counted_and_left_out(
    world: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch, places: set[int]
) -> None:
    images = heavy(list(held_out_images(world.s3, world.dataset)), places)
    for module in (endpoint_accuracy, prediction):
        monkeypatch.setattr(module, "held_out_images", lambda _s3, _version, limit=None: iter(images[:limit]))
    measured = endpoint_evaluation(runtime, world.s3, endpoint="shades", dataset=world.dataset)
    assert (measured.images, measured.not_sent) == (len(images) - len(places), len(places))
    assert measured.accuracy == 1.0
    shown = predict_held_out(runtime, world.s3, endpoint="shades", dataset=world.dataset, limit=3)
    first = [image.key for place, image in enumerate(images) if place not in places][:3]
    assert [one.image for one in shown] == first


def test_an_endpoint_that_takes_none_of_the_test_images_is_an_error(
    world: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = heavy(list(held_out_images(world.s3, world.dataset))[:2], {0, 1})
    monkeypatch.setattr(endpoint_accuracy, "held_out_images", lambda *_: iter(images))
    with pytest.raises(PredictionError, match=r"None of the 2 test images of s3://.* fits into a request to endpoint"):
        endpoint_evaluation(runtime, world.s3, endpoint="shades", dataset=world.dataset)


def version_packed(world: Any, **packing: Any) -> DatasetVersion:
    changed: DatasetVersion = world.dataset.model_copy(update={"packing": ImageOptions(**packing)})
    return changed


@pytest.mark.parametrize("kind", [".gif", ".avif", ".webp", ".png", ".bmp", ".jpg"])
def test_an_image_that_is_in_no_dataset_is_packed_by_the_steps_of_the_version(
    world: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bodies: list[bytes] = []
    invoke = runtime.invoke_endpoint

    def keep_body(**asked: Any) -> Any:
        bodies.append(asked["Body"])
        return invoke(**asked)

    monkeypatch.setattr(runtime, "invoke_endpoint", keep_body)
    source = cv2.imencode(kind, np.full((60, 90, 3), 215, np.uint8))[1].tobytes()
    version = version_packed(world, resize=20, center_crop=True, color=0, encoding=".png", quality=9)
    answer = predict_source_image(runtime, endpoint="shades", source=source, dataset=version)
    assert list(answer) == version.labels
    assert max(answer, key=answer.__getitem__) == "light"
    assert bodies == [pack_image(source, version.packing).data]
    assert cv2.imdecode(np.frombuffer(bodies[0], np.uint8), cv2.IMREAD_UNCHANGED).shape == (20, 20)


def test_a_photograph_of_more_bytes_than_a_request_holds_is_sent_as_small_as_it_is_packed(
    world: Any, runtime: Any
) -> None:
    noise = np.random.default_rng(1).integers(195, 235, (1800, 1900, 3), dtype=np.uint8)
    source = cv2.imencode(".png", noise)[1].tobytes()
    assert len(source) > LARGEST_BODY
    answer = predict_source_image(runtime, endpoint="shades", source=source, dataset=version_packed(world, resize=28))
    assert max(answer, key=answer.__getitem__) == "light"
    as_it_is = version_packed(world, pass_through=True)
    with pytest.raises(PredictionError, match=rf"The packed image has {len(source)} bytes, and an endpoint takes"):
        predict_source_image(runtime, endpoint="shades", source=source, dataset=as_it_is)


@pytest.mark.parametrize(
    ("packing", "source", "reason"),
    [
        ({}, b"no image", "no image format"),
        ({}, b"", "the object has no bytes"),
        ({"minimum_side": 99}, square("grey", 1), "under minimum_side, 99"),
        ({"pass_through": True}, cv2.imencode(".gif", np.zeros((9, 9, 3), np.uint8))[1].tobytes(), "neither JPEG"),
    ],
)
def test_an_image_that_cannot_be_packed_is_named(
    world: Any, runtime: Any, packing: dict[str, Any], source: bytes, reason: str
) -> None:
    version = version_packed(world, **packing)
    with pytest.raises(PredictionError, match=rf"cat\.gif cannot be packed as dataset version s3://.* is: .*{reason}"):
        predict_source_image(runtime, endpoint="shades", source=source, dataset=version, name="cat.gif")


def test_a_multi_label_image_expects_all_its_classes() -> None:
    one = prediction_of("1.jpg", [0.9, 0.1, 0.8], (1, 0, 1), ["sun", "rain", "sea"], multi_label=True)
    assert (one.expected, one.label, one.correct) == ("sun, sea", "sun", True)


@pytest.mark.parametrize(("values", "correct"), [([0.4, 0.1], True), ([0.2, 0.5], False)])
def test_an_image_that_shows_no_class_expects_none(values: list[float], correct: bool) -> None:
    prediction = prediction_of("1.jpg", values, (0, 0), ["sun", "rain"], multi_label=True)
    assert (prediction.expected, prediction.correct) == ("none", correct)


@pytest.mark.parametrize(
    ("image", "expected"),
    [(b"\xff\xd8\xff\xe0", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"BM", "application/x-image")],
)
def test_the_content_type_follows_from_the_bytes(image: bytes, expected: str) -> None:
    assert content_type(image) == expected


def put_answers(s3: Any, job: str, uris: Sequence[str], answer: object, *, whole_key: bool = False) -> None:
    for uri in uris:
        name = uri.removeprefix("s3://images-of-acme/") if whole_key else uri.rpartition("/")[2]
        key = f"transform/{job}/answers/{name}.out"
        s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps(answer).encode())


def test_the_manifest_lists_every_packed_test_image(world: Any) -> None:
    images = write_packed_test_images(world.s3, world.dataset)
    address = write_manifest(world.s3, images, settings=settings(), job="transform-1")
    assert address == "s3://models-of-acme/transform/transform-1/manifest.json"
    head, *names = json.loads(world.read(address))
    assert head == {"prefix": f"{world.dataset.uri}images/test/"}
    assert [head["prefix"] + name for name in names] == images.uris
    assert read_manifest(world.s3, settings=settings(), job="transform-1") == images.uris
    assert len(names) == world.dataset.counts.test > 0


def request(world: Any, largest: int) -> dict[str, Any]:
    return transform_request(
        "transform-1",
        model="shades-0123456789",
        manifest="s3://models-of-acme/transform/transform-1/manifest.json",
        largest=largest,
        content_type="application/x-image",
        conf=RunConf(),
        settings=settings(kms_key_id="key-1"),
        dataset=world.dataset,
        run=Run("image_classification", "run"),
    )


@pytest.mark.parametrize(
    ("largest", "payload"),
    [(1, 1), (1_000_000, 1), (1_000_001, 2), (6_291_456, 7), (6_700_000, 7), (51_000_000, 51), (100_000_000, 100)],
)
def test_the_payload_follows_from_the_largest_image(world: Any, largest: int, payload: int) -> None:
    body = request(world, largest)
    assert_aws_takes("CreateTransformJob", body)
    assert body["MaxPayloadInMB"] == payload
    assert body["MaxPayloadInMB"] * 1_000_000 >= largest, "whichever of its two meanings MB has"
    assert 1 <= body["MaxConcurrentTransforms"] * payload <= 100


@pytest.mark.parametrize("largest", [100_000_001, 500_000_000])
def test_what_no_request_holds_is_refused_before_there_is_a_job(world: Any, largest: int) -> None:
    with pytest.raises(TransformError) as refused:
        request(world, largest)
    assert str(refused.value) == (
        f"The largest packed test image has {largest} bytes, and a batch transform sends at most 100000000: set "
        "dataset.packing.resize, or dataset.packing.encoding to jpg, and build a new version."
    )
    with pytest.raises(TransformError):
        payload_mb(largest)


def test_the_request_sends_one_image_at_a_time(world: Any) -> None:
    body = request(world, 1000)
    assert_aws_takes("CreateTransformJob", body)
    assert body["BatchStrategy"] == "SingleRecord"
    assert body["TransformInput"]["DataSource"]["S3DataSource"]["S3DataType"] == "ManifestFile"
    assert body["TransformOutput"]["S3OutputPath"] == "s3://models-of-acme/transform/transform-1/answers"


@pytest.mark.parametrize(("endpoint", "transform"), [("ml.g5.xlarge", "ml.g5.xlarge"), ("ml.t2.medium", "ml.m5.large")])
def test_a_transform_runs_on_the_endpoints_machine_where_it_may(endpoint: str, transform: str) -> None:
    assert transform_instance_type(endpoint) == transform


@pytest.mark.parametrize("whole_key", [False, True])
def test_answers_are_found_by_the_name_of_their_image(world: Any, whole_key: bool) -> None:
    uris = [f"s3://images-of-acme/datasets/a/b/images/test/{number}.jpg" for number in (2, 1)]
    job = f"named-{whole_key}"
    put_answers(world.s3, job, uris, [0.25, 0.75], whole_key=whole_key)
    assert read_answers(world.s3, settings=settings(), job=job, uris=uris, classes=2) == [[0.25, 0.75]] * 2


@pytest.mark.parametrize("whole_key", [False, True])
def test_answers_of_images_in_folders_are_found_by_what_follows_the_prefix(world: Any, whole_key: bool) -> None:
    prefix, job = "s3://images-of-acme/new/", f"folders-{whole_key}"
    names = ["00000/1.jpg", "00001/1.jpg"]
    for name, answer in zip(names, ([0.25, 0.75], [1.0, 0.0]), strict=True):
        key = f"transform/{job}/answers/{'new/' if whole_key else ''}{name}.out"
        world.s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps(answer).encode())
    uris = [f"{prefix}{name}" for name in names]
    found = read_answers(world.s3, settings=settings(), job=job, uris=uris, classes=2, prefix=prefix)
    assert found == [[0.25, 0.75], [1.0, 0.0]]


def test_images_without_an_answer_are_named(world: Any) -> None:
    uris = [f"s3://images-of-acme/datasets/a/b/images/test/{number}.jpg" for number in (1, 2)]
    put_answers(world.s3, "partly", uris[:1], [1.0], whole_key=True)
    with pytest.raises(TransformError) as refused:
        read_answers(world.s3, settings=settings(), job="partly", uris=uris, classes=1)
    assert str(refused.value) == (
        "Transform job partly left no answer for 1 of 2 images, such as s3://images-of-acme/datasets/a/b/images/test/2.jpg."
    )


def test_a_model_of_another_dataset_is_noticed(world: Any) -> None:
    uris = ["s3://images-of-acme/datasets/a/b/images/test/1.jpg"]
    put_answers(world.s3, "foreign", uris, [0.5, 0.5])
    with pytest.raises(PredictionError, match="answered 2 probabilities, the dataset has 3 classes"):
        read_answers(world.s3, settings=settings(), job="foreign", uris=uris, classes=3)
