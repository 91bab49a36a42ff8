from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from include.datasets.image_objects import write_packed_test_images
from include.evaluation.prediction import PredictionError
from include.evaluation.transform import (
    TransformError,
    payload_mb,
    read_answers,
    read_manifest,
    transform_request,
    write_manifest,
)
from include.run_conf import RunConf
from include.sagemaker.instance_types import transform_instance_type
from include.sagemaker.naming import Run
from tests.support.documents import settings
from tests.unit.training.test_job_requests import assert_aws_takes


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
