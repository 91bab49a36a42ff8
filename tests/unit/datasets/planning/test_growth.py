from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.planning.growth import find_new_images
from tests.support.pictures import jpeg
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def test_nothing_is_new_right_after_a_build(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    bucket.put("images/dog/broken.jpg", b"no image")
    bucket.put("images/dog/again.jpg", bucket.get("images/dog/000.jpg"))
    conf = bucket.conf(max_bad_fraction=0.5)
    assert find_new_images(s3, conf, bucket.build(conf)).count == 0


def test_added_and_replaced_images_are_new(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    version = bucket.build(bucket.conf())
    bucket.put("images/cat/added.jpg", jpeg(seed=70))
    bucket.put("images/cat/000.jpg", jpeg(seed=71))
    s3.delete_object(Bucket=bucket.name, Key="images/dog/000.jpg")
    new = find_new_images(s3, bucket.conf(), version)
    assert (new.count, new.bytes, new.new_labels) == (2, len(jpeg(seed=70)) + len(jpeg(seed=71)), ())


def test_a_folder_without_a_class_is_named_unless_labels_were_asked_for(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    version = bucket.build(bucket.conf())
    bucket.put_images({"ape": 2})
    assert find_new_images(s3, bucket.conf(), version).new_labels == ("ape",)
    new = find_new_images(s3, bucket.conf(labels=["cat", "dog"]), version)
    assert (new.count, new.new_labels) == (0, ())


def test_what_no_version_could_gain_from_is_not_new(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    version = bucket.build(bucket.conf())
    bucket.put("images/cat/again.jpg", bucket.get("images/cat/000.jpg"))
    bucket.put("images/dog/conflict.jpg", bucket.get("images/cat/001.jpg"))
    bucket.put("images/dog/empty.jpg", b"")
    assert find_new_images(s3, bucket.conf(), version).count == 0
