"""The container template behind boto3 alone, as its `local.json` says: trained on class folders, deployed, asked."""

from __future__ import annotations

import io
import tarfile
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from include.evaluation.prediction import read_probabilities
from include.sagemaker.epochs import read_epochs
from tests.local_aws.framework_images.test_serve import create_endpoint
from tests.support.local_aws import BUCKET, ROLE, channel_of, finished_job, log_lines, training_request
from tests.support.squares import jpeg

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/container-template:1"
METRICS = [
    {"Name": f"{channel.lower()}:accuracy", "Regex": rf"Epoch\[\d+\] {channel}-accuracy=([0-9.]+)"}
    for channel in ("Train", "Validation")
]
SECONDS = 300.0


def test_the_template_trains_on_class_folders_and_answers_as_the_built_in_algorithm_does(
    sagemaker: Any, s3: Any, logs: Any, local_aws: Any
) -> None:
    data, name = uuid4().hex, f"template-{uuid4().hex[:8]}"
    for channel, count, first in (("train", 24, 0), ("validation", 8, 1000)):
        for number in range(first, first + count):
            key = f"{data}/{channel}/{('dark', 'bright')[number % 2]}/{number}.jpg"
            s3.put_object(Bucket=BUCKET, Key=key, Body=jpeg(number % 2, seed=number, side=32))
    values = {"image_size": 32, "epochs": 2, "batch_size": 8, "learning_rate": 0.01}
    request = training_request(
        name,
        HyperParameters={key: str(value) for key, value in values.items()},
        AlgorithmSpecification={
            "TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": METRICS
        },
        InputDataConfig=[channel_of(channel, f"{data}/{channel}/") for channel in ("train", "validation")],
    )  # fmt: skip
    sagemaker.create_training_job(**request)
    job = finished_job(sagemaker, name, SECONDS)

    assert job["TrainingJobStatus"] == "Completed", log_lines(logs, name)[-20:]
    assert {metric["MetricName"] for metric in job["FinalMetricDataList"]} == {"train:accuracy", "validation:accuracy"}
    epochs = read_epochs(logs, name)
    assert [epoch.epoch for epoch in epochs] == [0, 1]
    assert epochs[0].kept, "the first epoch is the best so far"
    artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
    packed = s3.get_object(Bucket=BUCKET, Key=artifact.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {"model.keras", "classes.json", "confusion_matrix.csv"} <= {*archive.getnames()}

    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": artifact}
    )
    endpoint = create_endpoint(sagemaker, name)
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    runtime = local_aws.client("sagemaker-runtime")
    ask = {"EndpointName": name, "ContentType": "application/x-image"}
    body = runtime.invoke_endpoint(**ask, Body=jpeg(1, seed=5000, side=32))["Body"].read()
    assert sum(read_probabilities(body, origin=name, classes=2)) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ClientError, match=r"\(400\)"):
        runtime.invoke_endpoint(**ask, Body=b"no image")
    sagemaker.delete_endpoint(EndpointName=name)
