"""What the local AWS and its clients say when the disk is full, and that all goes on when there is space again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.sample_images import SampleImage
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.recordio.format import RecordWriter, encode_image_record
from include.run_conf import RunConf
from tests.support.local_aws import (
    ALGORITHM_IMAGE,
    BUCKET,
    ROLE,
    TOY_IMAGE,
    channel_of,
    eventually,
    finished_job,
    training_request,
)
from tests.support.small_disk import SmallDisk, local_aws_on_small_disk
from tests.support.world import digits

pytestmark = pytest.mark.end_to_end

MIB = 1 << 20
IMAGES = 16


@pytest.fixture(scope="module")
def started_disk(module_path: Path) -> Iterator[SmallDisk]:
    with local_aws_on_small_disk(module_path / "disk") as disk:
        disk.aws.client("s3").create_bucket(Bucket=BUCKET)
        yield disk


@pytest.fixture
def disk(started_disk: SmallDisk) -> Iterator[SmallDisk]:
    yield started_disk
    started_disk.clear()


@pytest.fixture
def s3(disk: SmallDisk) -> Any:
    return disk.aws.client("s3")


@pytest.fixture
def sagemaker(disk: SmallDisk) -> Any:
    return disk.aws.client("sagemaker")


def test_a_job_whose_data_do_not_fit_fails_and_the_next_one_has_space_again(
    disk: SmallDisk, s3: Any, sagemaker: Any
) -> None:
    s3.put_object(Bucket=BUCKET, Key="large/a.rec", Body=bytes(3 * MIB))
    disk.fill(leave=MIB)

    sagemaker.create_training_job(**training_request("does-not-fit", channel="large/"))
    failed = finished_job(sagemaker, "does-not-fit")

    assert failed["TrainingJobStatus"] == "Failed"
    assert failed["FailureReason"].startswith("ClientError: the disk is full")
    assert "in phase Downloading" in failed["FailureReason"]
    assert "--state-dir" in failed["FailureReason"]
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == [BUCKET]
    disk.clear()
    sagemaker.create_training_job(**training_request("fits", channel="large/"))
    assert finished_job(sagemaker, "fits")["TrainingJobStatus"] == "Completed"


def recordio(images: list[SampleImage]) -> bytes:
    sink = io.BytesIO()
    writer = RecordWriter(sink)
    for number, image in enumerate(images):
        writer.write(number, encode_image_record([float(image.key[0])], number, image.jpeg))
    return sink.getvalue()


def real_training(name: str, images: int) -> dict[str, Any]:
    """A request for one epoch of a network of 1.1 MB."""
    hyperparameters = {
        "num_classes": "2",
        "num_training_samples": str(images),
        "num_layers": "20",
        "image_shape": "3,28,28",
        "mini_batch_size": "8",
        "epochs": "1",
    }
    channels = [
        channel_of(split, f"digits/{split}/", ContentType="application/x-recordio") for split in ("train", "validation")
    ]
    return training_request(name, image=ALGORITHM_IMAGE, InputDataConfig=channels, HyperParameters=hyperparameters)


def failed_training(disk: SmallDisk, name: str) -> str:
    """Train for an epoch with what the disk has left, and return why that failed."""
    sagemaker, s3 = disk.aws.client("sagemaker"), disk.aws.client("s3")
    sagemaker.create_training_job(**real_training(name, IMAGES))
    job = finished_job(sagemaker, name, seconds=120)
    assert job["TrainingJobStatus"] == "Failed"
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"jobs/{name}/")
    return str(job["FailureReason"])


@pytest.fixture
def records(s3: Any) -> None:
    for split in ("train", "validation"):
        body = recordio(digits("0", "1", count=IMAGES // 2))
        s3.put_object(Bucket=BUCKET, Key=f"digits/{split}/{split}.rec", Body=body)


def test_a_model_that_cannot_be_saved_fails_its_job(disk: SmallDisk, records: None) -> None:
    disk.fill(leave=MIB // 2)

    reason = failed_training(disk, "no-room-for-the-model")

    assert reason.startswith("ClientError: Customer Error: no space left on the device of")


def test_a_model_that_cannot_be_put_into_an_archive_fails_its_job(disk: SmallDisk, records: None) -> None:
    if not disk.is_mounted:
        pytest.skip("no disk may be mounted here, and a limit on each file knows no sum of model and archive")
    disk.fill(leave=3 * MIB // 2)

    reason = failed_training(disk, "no-room-for-the-archive")

    assert reason.startswith("ClientError: the disk is full")
    assert "in phase Uploading" in reason


def test_an_endpoint_whose_model_does_not_fit_fails_with_the_reason(disk: SmallDisk, s3: Any, sagemaker: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="large/model.tar.gz", Body=bytes(3 * MIB))
    container = {"Image": TOY_IMAGE, "ModelDataUrl": f"s3://{BUCKET}/large/model.tar.gz"}
    sagemaker.create_model(ModelName="large", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {
        "VariantName": "only",
        "ModelName": "large",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": 1.0,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="large", ProductionVariants=[variant])
    disk.fill(leave=MIB)

    sagemaker.create_endpoint(EndpointName="large", EndpointConfigName="large")
    eventually(lambda: sagemaker.describe_endpoint(EndpointName="large")["EndpointStatus"] == "Failed")

    assert "the disk is full" in sagemaker.describe_endpoint(EndpointName="large")["FailureReason"]


def test_an_object_that_does_not_fit_is_refused_whole_and_taken_later(disk: SmallDisk, s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="upload")["UploadId"]
    disk.fill(leave=MIB)

    for put, place in ((s3.put_object, {}), (s3.upload_part, {"UploadId": upload, "PartNumber": 1})):
        with pytest.raises(ClientError, match="the disk is full") as refused:
            put(Bucket=BUCKET, Key="upload", Body=bytes(6 * MIB), **place)
        assert refused.value.response["Error"]["Code"] == "InternalFailure"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400  # no client tries it again

    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET, Prefix="upload")
    assert "Parts" not in s3.list_parts(Bucket=BUCKET, Key="upload", UploadId=upload)
    disk.clear()
    s3.put_object(Bucket=BUCKET, Key="upload", Body=bytes(6 * MIB))
    assert s3.head_object(Bucket=BUCKET, Key="upload")["ContentLength"] == 6 * MIB


def test_a_shard_that_does_not_fit_leaves_nothing_behind_and_is_packed_by_the_retry(disk: SmallDisk, s3: Any) -> None:
    for image in digits("0", "1", count=10):
        s3.put_object(Bucket=BUCKET, Key=f"images/{image.key}", Body=image.jpeg)
    conf = RunConf.from_conf({"dataset.name": "digits"}).dataset
    plan = plan_version(s3, conf, data_bucket=BUCKET, run_id="full", run_after=datetime.now(UTC))
    before = s3.list_objects_v2(Bucket=BUCKET, Prefix="datasets/")["KeyCount"]
    disk.fill(leave=0)

    with pytest.raises(ClientError, match="the disk is full"):
        pack_shard(s3, plan, plan.shards[0])

    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="datasets/")["KeyCount"] == before
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    assert not [upload["Key"] for upload in uploads if upload["Key"].startswith("datasets/")]
    disk.clear()
    assert pack_shard(s3, plan, plan.shards[0]).records == plan.shards[0].images
