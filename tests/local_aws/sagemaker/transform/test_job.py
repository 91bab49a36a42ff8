from __future__ import annotations

import gzip
import json
import uuid
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import BUCKET, Scripted, unique, wait_for


def put(scripted: Scripted, **objects: bytes) -> str:
    """Put objects (key parts joined by __) under a fresh prefix and return it."""
    prefix = uuid.uuid4().hex
    for name, body in objects.items():
        scripted.client("s3").put_object(Bucket=BUCKET, Key=f"{prefix}/{name.replace('__', '/')}.jpg", Body=body)
    return prefix


def request(model: str, uri: str, target: str, **changes: Any) -> dict[str, Any]:
    source = {"S3DataSource": {"S3DataType": changes.pop("kind", "S3Prefix"), "S3Uri": uri}}
    return {
        "TransformJobName": unique("transform"),
        "ModelName": model,
        "TransformInput": {"DataSource": source, "ContentType": "image/jpeg", **changes.pop("source", {})},
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/{target}", **changes.pop("output", {})},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **changes,
    }


def transformed(control: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Run a transform job to its end and describe it."""
    control.create_transform_job(**document)
    name = document["TransformJobName"]
    return wait_for(
        lambda: control.describe_transform_job(TransformJobName=name),
        lambda said: said["TransformJobStatus"] not in ("InProgress", "Stopping"),
    )


def outputs(scripted: Scripted, prefix: str) -> dict[str, bytes]:
    s3 = scripted.client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
    return {
        entry["Key"].removeprefix(f"{prefix}/"): s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        for entry in found
    }


def no_serving_process(scripted: Scripted) -> bool:
    children = psutil.Process(scripted.running.process.pid).children(recursive=True)
    return not any("transform-job" in " ".join(_environment(child).values()) for child in children)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_every_object_is_answered_under_its_relative_key(scripted: Scripted, control: Any) -> None:
    prefix, output = put(scripted, one=b"1", sub__two=b"22"), uuid.uuid4().hex
    document = request(scripted.model("m"), f"s3://{BUCKET}/{prefix}/", output, MaxConcurrentTransforms=2)
    description = transformed(control, document)
    assert description["TransformJobStatus"] == "Completed", description
    assert description["TransformStartTime"] <= description["TransformEndTime"]
    answers = {key: json.loads(body) for key, body in outputs(scripted, output).items()}
    assert {key: answer["bytes"] for key, answer in answers.items()} == {"one.jpg.out": 1, "sub/two.jpg.out": 2}
    assert {answer["content_type"] for answer in answers.values()} == {"image/jpeg"}
    assert no_serving_process(scripted)


def test_a_manifest_names_the_objects(scripted: Scripted, control: Any) -> None:
    prefix, output = put(scripted, one=b"1", sub__two=b"22", three=b"333"), uuid.uuid4().hex
    entries = [{"prefix": f"s3://{BUCKET}/{prefix}/"}, "one.jpg", "sub/two.jpg"]
    manifest = scripted.put("manifest.json", json.dumps(entries).encode())
    document = request(scripted.model("m"), manifest, output, kind="ManifestFile", output={"Accept": "text/plain"})
    assert transformed(control, document)["TransformJobStatus"] == "Completed"
    answers = outputs(scripted, output)
    assert sorted(answers) == ["one.jpg.out", "sub/two.jpg.out"]
    assert json.loads(answers["one.jpg.out"])["accept"] == "text/plain"


def test_lines_are_sent_one_by_one_and_assembled(scripted: Scripted, control: Any) -> None:
    prefix, output = put(scripted, lines=b"aa\nbbb\ncccc\n"), uuid.uuid4().hex
    document = request(
        scripted.model("m"),
        f"s3://{BUCKET}/{prefix}/",
        output,
        source={"SplitType": "Line"},
        output={"Accept": "application/octet-stream", "AssembleWith": "Line"},
        BatchStrategy="SingleRecord",
    )
    assert transformed(control, document)["TransformJobStatus"] == "Completed"
    assert outputs(scripted, output) == {"lines.jpg.out": b"aa\nbbb\ncccc\n"}


def test_compressed_objects_are_sent_plain(scripted: Scripted, control: Any) -> None:
    prefix, output = put(scripted, packed=gzip.compress(b"twelve bytes")), uuid.uuid4().hex
    document = request(scripted.model("m"), f"s3://{BUCKET}/{prefix}/", output, source={"CompressionType": "Gzip"})
    assert transformed(control, document)["TransformJobStatus"] == "Completed"
    assert json.loads(outputs(scripted, output)["packed.jpg.out"])["bytes"] == 12


def test_a_bad_object_fails_the_job_by_name_and_the_good_ones_are_kept(scripted: Scripted, control: Any) -> None:
    prefix, output = put(scripted, a=b"1", b=b"bad image", c=b"3"), uuid.uuid4().hex
    description = transformed(control, request(scripted.model("m"), f"s3://{BUCKET}/{prefix}/", output))
    assert description["TransformJobStatus"] == "Failed"
    assert f"s3://{BUCKET}/{prefix}/b.jpg" in description["FailureReason"]
    assert "400" in description["FailureReason"]
    assert "this is no image" in description["FailureReason"]
    assert sorted(outputs(scripted, output)) == ["a.jpg.out", "c.jpg.out"]
    assert no_serving_process(scripted)


def test_a_model_that_cannot_load_and_an_empty_prefix_fail_with_their_reasons(scripted: Scripted, control: Any) -> None:
    prefix = put(scripted, one=b"1")
    description = transformed(control, request(scripted.broken_model(), f"s3://{BUCKET}/{prefix}/", "x"))
    assert description["TransformJobStatus"] == "Failed"
    assert "cannot load the model" in description["FailureReason"]
    description = transformed(control, request(scripted.model("m"), f"s3://{BUCKET}/nothing-here/", "x"))
    assert "No S3 objects found under S3 URL" in description["FailureReason"]


def test_a_payload_above_the_limit_is_not_sent(scripted: Scripted, control: Any) -> None:
    prefix = put(scripted, big=b"x" * (1024 * 1024 + 1))
    document = request(scripted.model("m"), f"s3://{BUCKET}/{prefix}/", "x", MaxPayloadInMB=1)
    assert "MaxPayloadInMB" in transformed(control, document)["FailureReason"]


def test_an_image_above_what_an_endpoint_takes_is_transformed_where_the_payload_allows_it(
    scripted: Scripted, control: Any
) -> None:
    size = 6_291_456 + 1000
    prefix, output = put(scripted, large=b"x" * size, small=b"x"), uuid.uuid4().hex
    names = [{"prefix": f"s3://{BUCKET}/{prefix}/"}, "large.jpg", "small.jpg"]
    scripted.client("s3").put_object(Bucket=BUCKET, Key=f"{output}.json", Body=json.dumps(names).encode())
    uri, settings = f"s3://{BUCKET}/{output}.json", {"MaxPayloadInMB": 7, "MaxConcurrentTransforms": 4}
    document = request(scripted.model("m"), uri, output, kind="ManifestFile", **settings)
    assert transformed(control, document)["TransformJobStatus"] == "Completed"
    assert {name: json.loads(body)["bytes"] for name, body in outputs(scripted, output).items()} == {
        "large.jpg.out": size,
        "small.jpg.out": 1,
    }


def test_a_stopped_job_leaves_no_process(scripted: Scripted, control: Any) -> None:
    prefix = put(scripted, **{f"slow{n}": b"slow" for n in range(30)})
    document = request(scripted.model("m"), f"s3://{BUCKET}/{prefix}/", uuid.uuid4().hex)
    name = document["TransformJobName"]
    control.create_transform_job(**document)
    wait_for(lambda: no_serving_process(scripted), lambda none: not none)
    control.stop_transform_job(TransformJobName=name)
    description = wait_for(
        lambda: control.describe_transform_job(TransformJobName=name),
        lambda said: said["TransformJobStatus"] == "Stopped",
    )
    assert "FailureReason" not in description
    assert no_serving_process(scripted)
    with pytest.raises(ClientError, match="Stopped"):
        control.stop_transform_job(TransformJobName=name)


def test_names_models_and_limits_are_checked(scripted: Scripted, control: Any) -> None:
    prefix = put(scripted, one=b"1")
    model, uri = scripted.model("m"), f"s3://{BUCKET}/{prefix}/"
    document = request(model, uri, "x")
    transformed(control, document)
    with pytest.raises(control.exceptions.ResourceInUse):
        control.create_transform_job(**document)
    with pytest.raises(ClientError, match="Could not find model"):
        control.create_transform_job(**request("nobody", uri, "x"))
    with pytest.raises(ClientError, match="must not exceed 100 MB"):
        control.create_transform_job(**request(model, uri, "x", MaxConcurrentTransforms=20, MaxPayloadInMB=6))
    for call in (control.describe_transform_job, control.stop_transform_job):
        with pytest.raises(ClientError, match="Could not find requested job with name: nobody") as refusal:
            call(TransformJobName="nobody")
        assert refusal.value.response["Error"]["Code"] == "ValidationException"
    listed = control.list_transform_jobs(NameContains=document["TransformJobName"])["TransformJobSummaries"]
    assert [job["TransformJobStatus"] for job in listed] == ["Completed"]
