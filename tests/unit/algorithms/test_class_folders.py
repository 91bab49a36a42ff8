from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from include.algorithms.class_folders import folders_of, unfit_for_folders, write_class_folders
from include.datasets.errors import DatasetError
from include.recordio.format import decode_image_record, read_records
from tests.support.dataset_bucket import Bucket
from tests.support.documents import dataset_version

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def test_every_image_of_a_channel_lies_in_the_folder_of_its_class(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 6})
    version = bucket.build(bucket.conf())
    folders = write_class_folders(s3, version, version.channel_uri("train"))

    assert folders == f"{version.uri}folders/train/"
    records = [decode_image_record(each.payload) for each in read_records(bucket.get(version.layout.records("train")))]
    prefix = folders.removeprefix(f"s3://{bucket.name}/")
    for record in records:
        assert bucket.get(f"{prefix}{version.labels[int(record.labels[0])]}/{record.id:010d}.jpg") == record.image
    listed = s3.list_objects_v2(Bucket=bucket.name, Prefix=prefix)["Contents"]
    assert len(listed) == len(records) == version.counts.train
    assert Counter(entry["Key"].split("/")[-2] for entry in listed) == {
        label: counts.train for label, counts in version.class_counts.items()
    }


def test_what_a_killed_task_left_is_completed_and_a_finished_channel_is_left_alone(
    s3: S3Client, bucket: Bucket
) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    version = bucket.build(bucket.conf())
    channel = version.channel_uri("train")
    folders = write_class_folders(s3, version, channel).removeprefix(f"s3://{bucket.name}/")
    gone = s3.list_objects_v2(Bucket=bucket.name, Prefix=folders)["Contents"][0]["Key"]
    s3.delete_object(Bucket=bucket.name, Key=gone)

    write_class_folders(s3, version, channel)
    assert s3.list_objects_v2(Bucket=bucket.name, Prefix=gone)["KeyCount"] == 0, "it was finished: nothing is read"
    s3.delete_object(Bucket=bucket.name, Key=f"{folders.rstrip('/')}.json")
    write_class_folders(s3, version, channel)
    assert s3.list_objects_v2(Bucket=bucket.name, Prefix=gone)["KeyCount"] == 1


def test_the_folders_of_a_replay_lie_beside_it() -> None:
    assert folders_of("s3://b/datasets/d/v/replay/0.5-ab/train/") == "s3://b/datasets/d/v/replay/0.5-ab/folders/train/"


def test_classes_that_cannot_be_folders_are_refused(s3: S3Client) -> None:
    several, slashed = dataset_version(multi_label=True), dataset_version(labels=["cat", "cat/persian"])

    assert "has several labels and cannot be in one folder" in unfit_for_folders(several)
    assert "the label 'cat/persian' of pets/" in unfit_for_folders(slashed)
    assert not unfit_for_folders(dataset_version())
    with pytest.raises(DatasetError, match=r"training\.algorithm\.channels = folders: an image"):
        write_class_folders(s3, several, several.channel_uri("train"))
