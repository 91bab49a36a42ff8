"""The built-in image-classification algorithm behind the API: one tiny training, from bytes in S3 to a model in S3."""

from __future__ import annotations

import io
import re
import tarfile
from typing import Any

import pytest

from tests.support.local_aws import (
    ALGORITHM_IMAGE,
    BUCKET,
    ROOT,
    RunningLocalAws,
    channel_of,
    eventually,
    finished_job,
    interrupt,
    log_lines,
    training_request,
)
from tests.support.squares import records

CONTENT_TYPE = "application/x-recordio"
HYPERPARAMETERS = {
    "num_layers": "20",
    "image_shape": "3,28,28",
    "num_classes": "2",
    "num_training_samples": "32",
    "mini_batch_size": "16",
    "epochs": "1",
}
SPOT_LIMITS = {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}


@pytest.fixture(scope="module")
def channels(s3: Any) -> list[dict[str, Any]]:
    for name, count in (("train", 32), ("validation", 16)):
        s3.put_object(Bucket=BUCKET, Key=f"squares/{name}/{name}.rec", Body=records(count, seed=0))
    return [channel_of(name, f"squares/{name}/", ContentType=CONTENT_TYPE) for name in ("train", "validation")]


pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-mxnet/bin/python").exists(), reason="the algorithm's environment (make setup) is not there"
)


def request(name: str, channels: list[dict[str, Any]], **changed: str) -> dict[str, Any]:
    return training_request(
        name,
        image=ALGORITHM_IMAGE,
        InputDataConfig=channels,
        HyperParameters={**HYPERPARAMETERS, **changed},
        Environment={"OMP_NUM_THREADS": "1"},
    )


def trained_epochs(logs: Any, job: str) -> list[int]:
    """The epochs that a job has told the accuracy of, in their order."""
    try:
        lines = log_lines(logs, job)
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [int(number) for line in lines for number in re.findall(r"Epoch\[(\d+)\] Validation-accuracy", line)]


def test_the_algorithm_trains(sagemaker: Any, s3: Any, logs: Any, channels: list[dict[str, Any]]) -> None:
    sagemaker.create_training_job(**request("squares", channels))
    job = finished_job(sagemaker, "squares", seconds=120)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    assert set(metrics) == {
        "train:accuracy",
        "train:accuracy:epoch",
        "validation:accuracy",
        "validation:accuracy:epoch",
    }
    (said,) = re.findall(r"Epoch\[0\] Validation-accuracy=(\S+)", "\n".join(log_lines(logs, "squares")))
    assert metrics["validation:accuracy"] == pytest.approx(float(said))
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    with tarfile.open(fileobj=io.BytesIO(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())) as archive:
        names = archive.getnames()
    assert "image-classification-0001.params" in names
    assert "image-classification-symbol.json" in names


def test_an_interrupted_spot_job_resumes_from_its_last_epoch(
    local_aws: RunningLocalAws, sagemaker: Any, logs: Any, channels: list[dict[str, Any]]
) -> None:
    epochs = 60
    sagemaker.create_training_job(
        **{**request("resumed", channels, epochs=str(epochs)), "StoppingCondition": SPOT_LIMITS},
        EnableManagedSpotTraining=True,
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/resumed"},
    )
    eventually(lambda: trained_epochs(logs, "resumed"), 120)
    interrupt(local_aws.url, "resumed")

    job = finished_job(sagemaker, "resumed", seconds=180)

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    lines = "\n".join(log_lines(logs, "resumed"))
    (resumed_after,) = re.findall(r"Resuming from the checkpoint after epoch (\d+)", lines)
    assert trained_epochs(logs, "resumed") == list(range(epochs))
    assert 0 <= int(resumed_after) < epochs - 1


def test_a_hyperparameter_the_algorithm_refuses_is_the_reason(sagemaker: Any, channels: list[dict[str, Any]]) -> None:
    sagemaker.create_training_job(**request("refused", channels, learning_rate="7"))
    job = finished_job(sagemaker, "refused", seconds=120)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Customer Error: ")
    assert "learning_rate" in job["FailureReason"]
    assert job["FailureReason"].endswith("exit code: 1")
