from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from include.datasets.errors import DatasetError
from include.datasets.labels import label_vector
from include.datasets.version import held_out_images, latest, load
from tests.support.dataset_bucket import RUN_AFTER, Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def test_a_version_says_what_a_training_job_must_know(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    version = load(s3, bucket.build(bucket.conf()).uri)
    assert (version.num_classes, version.num_training_samples) == (2, version.counts.train)
    assert version.channel_uri("train") == f"s3://{bucket.name}/datasets/pets/{version.version}/train/"
    assert version.libraries.keys() == {"python", "opencv-python-headless", "numpy", "pyarrow", "obstore"}
    assert version.created == RUN_AFTER


def test_the_latest_version_is_the_newest_published_one(s3: S3Client, bucket: Bucket) -> None:
    assert latest(s3, bucket.name, "pets") is None
    bucket.put_images({"cat": 4, "dog": 4})
    first = bucket.build(bucket.conf())
    bucket.plan(bucket.conf(), "unfinished", run_after=RUN_AFTER + timedelta(days=2))
    assert latest(s3, bucket.name, "pets") == first
    second = bucket.build(bucket.conf(), "manual__2", run_after=RUN_AFTER + timedelta(days=1))
    assert latest(s3, bucket.name, "pets") == second
    assert latest(s3, bucket.name, "pet") is None


def test_an_unpublished_version_does_not_exist(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    with pytest.raises(DatasetError, match=r"without its dataset\.json was not published"):
        load(s3, plan.layout.uri)


def test_a_document_of_another_shape_is_reported_with_its_address(s3: S3Client, bucket: Bucket) -> None:
    bucket.put("datasets/pets/v1/dataset.json", b'{"name": "pets"}')
    with pytest.raises(DatasetError, match=r"s3://.*/dataset\.json cannot be read"):
        load(s3, f"s3://{bucket.name}/datasets/pets/v1/")


def test_held_out_images_come_with_key_label_and_bytes(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 12})
    version = bucket.build(bucket.conf(split={"train": 0.5, "validation": 0.2, "test": 0.3}))
    images = list(held_out_images(s3, version))
    assert len(images) == version.counts.test
    for image in images:
        assert image.key.split("/")[1] == version.labels[image.label]
        assert image.image_bytes.startswith(b"\xff\xd8\xff")
    assert list(held_out_images(s3, version, limit=1)) == images[:1]


def test_an_image_without_a_label_is_an_error_that_names_it() -> None:
    with pytest.raises(
        DatasetError, match=r"^s3://photos/1\.jpg has the labels none, an image of a single-label version"
    ):
        label_vector([], {"cat": 0, "dog": 1}, multi_label=False, origin="s3://photos/1.jpg")
    assert label_vector([], {"cat": 0, "dog": 1}, multi_label=True, origin="s3://photos/1.jpg") == (0.0, 0.0)


def test_a_document_from_before_both_sides_were_kept_is_still_read(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    version = bucket.build(bucket.conf())
    document = version.model_dump(mode="json")
    del document["smallest_height"], document["smallest_width"]
    bucket.put(version.layout.document, json.dumps(document).encode())
    old = load(s3, version.uri)
    assert (old.smallest_side, old.smallest_height, old.smallest_width) == (version.smallest_side, None, None)
    grown = bucket.build(bucket.conf(), "manual__2", run_after=RUN_AFTER + timedelta(days=1), parent=old.uri)
    assert (grown.smallest_height, grown.smallest_width) == (version.smallest_height, version.smallest_width)


def test_a_document_from_before_there_were_tables_is_still_read(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    version = bucket.build(bucket.conf())
    document = version.model_dump(mode="json") | {"source": f"s3://{bucket.name}/images/"}
    del document["split"]["train_per_class"], document["split"]["test_as"]
    bucket.put(version.layout.document, json.dumps(document).encode())
    assert load(s3, version.uri) == version
