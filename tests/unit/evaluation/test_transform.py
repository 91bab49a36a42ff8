from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from include.datasets.version import test_image_uris as held_out_uris
from include.deployment.prediction import PredictionError
from include.evaluation.transform import (
    TransformError,
    common_prefix,
    read_answers,
    read_manifest,
    transform_request,
    write_manifest,
)
from include.run_conf import RunConf
from include.training.instance_types import transform_instance_type
from include.training.naming import Run
from tests.unit.documents import settings
from tests.unit.training.test_requests import assert_aws_takes


def put_answers(s3: Any, job: str, uris: Sequence[str], answer: object, *, whole_key: bool = False) -> None:
    prefix = common_prefix(uris)
    for uri in uris:
        name = uri.partition("/images/")[2] if not whole_key else uri.removeprefix("s3://images-of-acme/")
        name = name if whole_key else uri.removeprefix(prefix)
        key = f"transform/{job}/answers/{name}.out"
        s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps(answer).encode())


def test_the_manifest_lists_every_held_out_image(world: Any) -> None:
    uris = [image.uri for image in held_out_uris(world.s3, world.dataset)]
    address = write_manifest(world.s3, uris, settings=settings(), job="transform-1")
    assert address == "s3://models-of-acme/transform/transform-1/manifest.json"
    head, *names = json.loads(world.read(address))
    assert [head["prefix"] + name for name in names] == uris
    assert len(uris) == world.dataset.counts.test > 0


def test_held_out_images_that_were_removed_are_left_out(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    uris = [image.uri for image in held_out_uris(world.s3, world.dataset)]
    gone = [*uris, "s3://images-of-acme/images/light/removed.jpg"]

    write_manifest(world.s3, gone, settings=settings(), job="transform-3")

    assert read_manifest(world.s3, settings=settings(), job="transform-3") == uris
    assert f"1 of {len(gone)} held-out images were removed, such as {gone[-1]}" in caplog.text
    with pytest.raises(TransformError, match=r"All 1 held-out images, such as .*, were removed: put them back"):
        write_manifest(world.s3, gone[-1:], settings=settings(), job="transform-3")


def test_the_request_sends_one_image_at_a_time(world: Any) -> None:
    body = transform_request(
        "transform-1",
        model="shades-0123456789",
        manifest="s3://models-of-acme/transform/transform-1/manifest.json",
        conf=RunConf(),
        settings=settings(kms_key_id="key-1"),
        dataset=world.dataset,
        run=Run("image_classification", "run"),
    )
    assert_aws_takes("CreateTransformJob", body)
    assert body["BatchStrategy"] == "SingleRecord"
    assert body["TransformInput"]["DataSource"]["S3DataSource"]["S3DataType"] == "ManifestFile"
    assert body["TransformOutput"]["S3OutputPath"] == "s3://models-of-acme/transform/transform-1/answers"


@pytest.mark.parametrize(("endpoint", "transform"), [("ml.g5.xlarge", "ml.g5.xlarge"), ("ml.t2.medium", "ml.m5.large")])
def test_a_transform_runs_on_the_endpoints_machine_where_it_may(endpoint: str, transform: str) -> None:
    assert transform_instance_type(endpoint) == transform


@pytest.mark.parametrize("whole_key", [False, True])
def test_answers_are_found_by_the_name_of_their_image(world: Any, whole_key: bool) -> None:
    uris = [f"s3://images-of-acme/images/cat/{number}.jpg" for number in (2, 1)]
    job = f"named-{whole_key}"
    put_answers(world.s3, job, uris, [0.25, 0.75], whole_key=whole_key)
    assert read_answers(world.s3, settings=settings(), job=job, uris=uris, classes=2) == [[0.25, 0.75]] * 2


def test_images_without_an_answer_are_named(world: Any) -> None:
    uris = [f"s3://images-of-acme/images/cat/{number}.jpg" for number in (1, 2)]
    put_answers(world.s3, "partly", uris[:1], [1.0], whole_key=True)
    with pytest.raises(TransformError) as refused:
        read_answers(world.s3, settings=settings(), job="partly", uris=uris, classes=1)
    assert str(refused.value) == (
        "Transform job partly left no answer for 1 of 2 images, such as s3://images-of-acme/images/cat/2.jpg."
    )


def test_a_model_of_another_dataset_is_noticed(world: Any) -> None:
    uris = ["s3://images-of-acme/images/cat/1.jpg"]
    put_answers(world.s3, "foreign", uris, [0.5, 0.5])
    with pytest.raises(PredictionError, match="answered 2 probabilities, the dataset has 3 classes"):
        read_answers(world.s3, settings=settings(), job="foreign", uris=uris, classes=3)


@pytest.mark.parametrize(
    ("uris", "prefix"),
    [
        (["s3://b/images/cat/1.jpg", "s3://b/images/dog/1.jpg"], "s3://b/images/"),
        (["s3://b/images/cat/1.jpg", "s3://b/images/cat/10.jpg"], "s3://b/images/cat/"),
        (["s3://b/images/cat/1.jpg"], "s3://b/images/cat/"),
        (["s3://b/cat/1.jpg", "s3://b/dog/1.jpg"], "s3://b/"),
        (["s3://b/1.jpg"], "s3://b/"),
    ],
)
def test_images_share_a_folder(uris: list[str], prefix: str) -> None:
    assert common_prefix(uris) == prefix


def test_images_of_several_buckets_fit_no_manifest(world: Any) -> None:
    with pytest.raises(TransformError, match=r"several buckets \(a, b\)"):
        write_manifest(world.s3, ["s3://a/1.jpg", "s3://b/1.jpg"], settings=settings(), job="transform-2")


def test_no_images_fit_no_manifest(world: Any) -> None:
    with pytest.raises(TransformError, match="There are no held-out images"):
        write_manifest(world.s3, [], settings=settings(), job="transform-2")
