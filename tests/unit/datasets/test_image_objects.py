from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import cv2
import numpy as np
import pytest

from include.clean_up.stored_data import _delete
from include.datasets.errors import DatasetError
from include.datasets.image_objects import (
    folders_of,
    record_id_of,
    unfit_for_folders,
    write_class_folders,
    write_packed_test_images,
)
from include.datasets.objects import ObjectWriter
from include.datasets.version import DatasetVersion, held_out_images
from include.recordio.format import decode_image_record, read_records
from include.recordio.images import decode_image
from tests.support.dataset_bucket import RUN_AFTER, Bucket
from tests.support.documents import dataset_version, settings
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


HALF = {"train": 0.4, "validation": 0.2, "test": 0.4}


def test_records(bucket: Bucket, version: DatasetVersion) -> dict[int, bytes]:
    """Id and image of every record in the version's test file."""
    records = read_records(bucket.get(version.layout.records("test")))
    return {image.id: image.image for image in (decode_image_record(record.payload) for record in records)}


test_records.__test__ = False  # type: ignore[attr-defined]  # its name is not a test's


def sent(bucket: Bucket, version: DatasetVersion) -> dict[int, bytes]:
    """Id and bytes of every object that a batch transform would send."""
    images = write_packed_test_images(bucket.s3, version)
    keys = [uri.removeprefix(f"s3://{bucket.name}/") for uri in images.uris]
    return {record_id_of(key): bucket.get(key) for key in keys}


def test_the_objects_are_the_test_records_of_the_version(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 12})
    version = bucket.build(bucket.conf(split=HALF))
    images = write_packed_test_images(s3, version)
    records = test_records(bucket, version)
    assert len(records) == version.counts.test > 5
    assert sent(bucket, version) == records
    assert [record_id_of(uri) for uri in images.uris] == list(records), "in the order of their records"
    assert images.largest == max(map(len, records.values()))
    assert images.prefix == f"{version.uri}images/test/"
    keys = {image.id: image.key for image in held_out_images(s3, version)}
    for record_id, image in records.items():
        stored = s3.head_object(Bucket=bucket.name, Key=f"{version.layout.test_images}{record_id:010d}.jpg")
        assert (stored["ContentType"], stored["ContentLength"]) == ("image/jpeg", len(image))
        assert decode_image(image).shape == decode_image(bucket.get(keys[record_id])).shape


@pytest.mark.parametrize("channel", ["train", "validation", "test"])
def test_no_channel_holds_them(bucket: Bucket, channel: Any) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    version = bucket.build(bucket.conf(split=HALF))
    write_packed_test_images(bucket.s3, version)
    for prefix in (version.channel_uri(channel), version.channel_uri(channel).rstrip("/")):
        key = prefix.removeprefix(f"s3://{bucket.name}/")
        assert bucket.listing(key) == [version.layout.records(channel)]


@pytest.mark.parametrize(("encoding", "ending"), [("jpg", "jpg"), ("png", "png")])
def test_images_that_the_container_cannot_read_are_sent_as_they_are_packed(
    bucket: Bucket, encoding: str, ending: str
) -> None:
    """GIF, AVIF, WebP and JPEG 2000 are packed, and MXNet's container reads none of them."""
    for place, label in enumerate(("cat", "dog")):
        for number in range(12):
            pixels = np.random.default_rng(number + 100 * place).integers(0, 255, (40, 60, 3), dtype=np.uint8)
            kind = (".gif", ".avif", ".webp", ".jp2")[number % 4]
            bucket.put(f"images/{label}/{number}{kind}", cv2.imencode(kind, pixels)[1].tobytes())
    version = bucket.build(bucket.conf(split=HALF, packing={"encoding": encoding, "quality": 9, "resize": 16}))
    assert version.counts.test >= 8
    for record_id, image in sent(bucket, version).items():
        assert decode_image(image).shape == (16, 24, 3)
        head = bucket.s3.head_object(Bucket=bucket.name, Key=f"{version.layout.test_images}{record_id:010d}.{ending}")
        assert head["ContentType"] == {"jpg": "image/jpeg", "png": "image/png"}[encoding]


def test_a_large_source_is_sent_as_small_as_it_is_packed(bucket: Bucket) -> None:
    for place, label in enumerate(("cat", "dog")):
        for number in range(6):
            side = 1600 if number == 0 else 20
            pixels = np.random.default_rng(number + 100 * place).integers(0, 255, (side, side, 3), dtype=np.uint8)
            bucket.put(f"images/{label}/{number}.png", cv2.imencode(".png", pixels)[1].tobytes())
    version = bucket.build(bucket.conf(split=HALF, packing={"resize": 32}))
    assert max(map(len, sent(bucket, version).values())) < 10_000


def test_those_of_pass_through_keep_their_bytes_and_have_their_own_content_type(bucket: Bucket) -> None:
    kinds = {".jpg": "image/jpeg", ".png": "image/png", ".bmp": "image/bmp", ".tif": "image/tiff"}
    originals = set()
    for place, label in enumerate(("cat", "dog")):
        for number in range(16):
            pixels = np.random.default_rng(number + 100 * place).integers(0, 255, (20, 30, 3), dtype=np.uint8)
            kind = list(kinds)[number % 4]
            original = cv2.imencode(kind, pixels)[1].tobytes()
            originals.add(original)
            bucket.put(f"images/{label}/{number}{kind}", original)
    version = bucket.build(bucket.conf(split=HALF, packing={"pass_through": True}))
    assert set(sent(bucket, version).values()) <= originals
    endings = set()
    for key in bucket.listing(version.layout.test_images):
        ending = f".{key.rpartition('.')[2]}"
        endings.add(ending)
        assert bucket.s3.head_object(Bucket=bucket.name, Key=key)["ContentType"] == kinds[ending]
    assert len(endings) > 1


def test_a_later_evaluation_reads_no_record(s3: S3Client, bucket: Bucket, endpoint: str) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    version = bucket.build(bucket.conf(split=HALF))
    first = write_packed_test_images(s3, version)
    asked: list[str] = []
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    other = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    other.meta.events.register("before-call.s3.GetObject", lambda params, **_: asked.append(params["url_path"]))
    other.meta.events.register("before-call.s3.PutObject", lambda params, **_: asked.append(params["url_path"]))
    assert write_packed_test_images(other, version) == first
    assert [path.rpartition("/")[2] for path in asked] == ["test.idx"]


def test_after_a_kill_only_the_missing_ones_are_written(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_images({"cat": 16, "dog": 16})
    version = bucket.build(bucket.conf(split=HALF))
    records = test_records(bucket, version)
    put = ObjectWriter.put
    written: list[str] = []

    class Killed(BaseException):
        pass

    def put_some(writer: ObjectWriter, key: str, data: bytes, **options: Any) -> None:
        if len(written) == 5:
            raise Killed
        written.append(key)
        put(writer, key, data, **options)

    def put_all(writer: ObjectWriter, key: str, data: bytes, **options: Any) -> None:
        written.append(key)
        put(writer, key, data, **options)

    monkeypatch.setattr(ObjectWriter, "put", put_some)
    with pytest.raises(Killed):
        write_packed_test_images(s3, version)
    left = bucket.listing(version.layout.test_images)
    assert len(left) <= 5 < len(records)
    written.clear()
    monkeypatch.setattr(ObjectWriter, "put", put_all)
    assert sent(bucket, version) == records
    assert sorted([*left, *written]) == bucket.listing(version.layout.test_images)


def test_a_grown_version_has_those_of_its_parents_too(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    parent = bucket.build(bucket.conf(split=HALF))
    bucket.put_images({"cat": 10, "dog": 10}, first=10)
    s3.delete_object(Bucket=bucket.name, Key=next(held_out_images(s3, parent)).key)
    later = RUN_AFTER + timedelta(days=1)
    child = bucket.build(bucket.conf(split=HALF), "manual__2", run_after=later, parent=parent.uri)
    records = test_records(bucket, child)
    assert sent(bucket, child) == records
    assert len(records) == child.counts.test > parent.counts.test
    inherited = test_records(bucket, parent).keys() & records.keys()
    assert len(inherited) == parent.counts.test - 1


def test_a_version_that_grew_over_two_buckets_is_sent_from_one(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    parent = bucket.build(bucket.conf(split=HALF))
    other = Bucket(s3, f"{bucket.name}-photos")
    s3.create_bucket(Bucket=other.name)
    other.put_images({"cat": 8, "dog": 8}, first=20)
    conf = bucket.conf(source=[f"s3://{other.name}/images/"], keep_removed=True, split=HALF)
    child = bucket.build(conf, "manual__2", run_after=RUN_AFTER + timedelta(days=1), parent=parent.uri)
    assert child.counts.total == 32
    assert sent(bucket, child) == test_records(bucket, child)


def test_images_moved_to_another_bucket_keep_their_records(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    parent = bucket.build(bucket.conf(split=HALF))
    other = Bucket(s3, f"{bucket.name}-moved")
    s3.create_bucket(Bucket=other.name)
    other.put_images({"cat": 8, "dog": 8})
    conf = bucket.conf(source=[f"s3://{other.name}/images/"], split=HALF)
    child = bucket.build(conf, "manual__2", run_after=RUN_AFTER + timedelta(days=1), parent=parent.uri)
    assert (child.newly_packed, child.counts) == (0, parent.counts)
    assert sent(bucket, child) == sent(bucket, parent)


def test_sources_that_are_gone_change_nothing(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    version = bucket.build(bucket.conf(split=HALF))
    for key in bucket.listing("images/"):
        s3.delete_object(Bucket=bucket.name, Key=key)
    assert len(sent(bucket, version)) == version.counts.test


def test_other_files_beside_them_are_not_sent(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    version = bucket.build(bucket.conf(split=HALF))
    for name in ("README.md", "notes/1.txt", "99999999999.jpg", "x1.jpg", "١٢.jpg"):
        bucket.put(f"{version.layout.test_images}{name}", b"not a packed image")
    assert sent(bucket, version) == test_records(bucket, version)


def test_the_address_of_something_else_has_no_record() -> None:
    with pytest.raises(DatasetError, match=r"s3://photos/images/cat\.jpg is not a packed test image"):
        record_id_of("s3://photos/images/cat.jpg")


def test_a_version_without_test_images_has_none_to_send(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    version = bucket.build(bucket.conf())
    empty = version.model_copy(update={"counts": version.counts.model_copy(update={"test": 0})})
    with pytest.raises(DatasetError, match="has no test images"):
        write_packed_test_images(s3, empty)


def test_they_go_with_the_version(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    version = bucket.build(bucket.conf(split=HALF))
    write_packed_test_images(s3, version)
    _delete(s3, settings(data_bucket=bucket.name, output_bucket=bucket.name), version)
    assert bucket.listing(version.layout.prefix) == []


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_largest_is_known_before_anything_is_trained(bucket: Bucket, multi_label: bool) -> None:
    lines = []
    for number in range(24):
        bucket.put(f"images/{number}.jpg", jpeg(20 + 3 * number, 30, seed=number))
        lines.append(f"{number}.jpg,{number % 2},{(number + 1) % 2}")
    bucket.put("labels.csv", "\n".join(["path,cat,dog", *lines]).encode())
    table = f"s3://{bucket.name}/labels.csv"
    version = bucket.build(bucket.conf(split=HALF, label_tables=[table], multi_label=multi_label))
    largest = write_packed_test_images(bucket.s3, version).largest
    assert version.largest_test_image is not None
    assert largest <= version.largest_test_image < largest + 4


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
