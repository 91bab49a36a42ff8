"""The project's own scripts, searched and then trained with what was found, on class folders of a dataset version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.algorithms.algorithm import Algorithm
from include.algorithms.kinds import algorithm_of
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from include.sagemaker.job_results import describe_training_job
from include.sagemaker.naming import Run
from include.training.job_requests import training_request, tuning_request
from include.training.run_jobs import epochs_of_attempt, tuning_result
from tests.support.dataset_bucket import Bucket
from tests.support.documents import settings
from tests.support.local_aws import (
    BUCKET,
    ROOT,
    RunningLocalAws,
    eventually,
    finished_job,
    log_lines,
    start_local_aws,
)

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-pytorch/bin/python").exists(), reason="the scripts' environment (make pytorch) is not there"
)
CONF = {
    "training.algorithm.kind": "script",
    "training.algorithm.channels": "folders",
    "training.algorithm.hyperparameters": {
        "image_size": 16,
        "augmentation": "none",
        "loader_workers": 0,
        "epochs": 2,
        "flip": False,
    },
    "resources.instance_type": "ml.m5.large",
    "training.mode": "tune_then_train",
    "tuning.max_jobs": 1,
    "tuning.max_parallel_jobs": 1,
    "tuning.epochs": 1,
    "tuning.ranges": {"lr": {"min": 0.001, "max": 0.003}, "batch_size": [4], "network": ["resnet18"]},
}
RUN = Run("train_model", "manual__1")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    running = start_local_aws(tmp_path_factory.mktemp("aws"))
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        yield running
    finally:
        running.end()


def prepared(aws: RunningLocalAws) -> tuple[Algorithm, DatasetVersion]:
    """The scripts in S3, and a dataset version of 12 images beside its class folders."""
    bucket = Bucket(aws.client("s3"), BUCKET)
    bucket.put_images({"cat": 10, "dog": 10})
    version = bucket.build(bucket.conf(split={"train": 0.6, "validation": 0.2, "test": 0.2}))
    installation = settings(data_bucket=BUCKET, output_bucket=BUCKET, region="us-east-1")
    return algorithm_of(RunConf.from_conf(CONF), installation).prepared(bucket.s3, version), version


def test_a_script_is_searched_and_then_trained_with_what_was_found(aws: RunningLocalAws) -> None:
    sagemaker, logs = aws.client("sagemaker"), aws.client("logs")
    algorithm, version = prepared(aws)
    given: dict[str, Any] = {"algorithm": algorithm, "dataset": version, "run": RUN}

    sagemaker.create_hyper_parameter_tuning_job(**tuning_request("script-tune", **given))

    def ended() -> dict[str, Any] | None:
        said: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="script-tune")
        return said if said["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping") else None

    search = eventually(ended, 300)
    found = tuning_result(sagemaker, logs, search)
    assert found.best_job, search
    assert (found.algorithm, found.kept_epoch) == ("script", 1)
    assert found.hyperparameters["network"] == '"resnet18"'

    sagemaker.create_training_job(**training_request("script-full", **given, tuned=found.hyperparameters))
    full = finished_job(sagemaker, "script-full", 300.0)
    assert full["TrainingJobStatus"] == "Completed", log_lines(logs, "script-full")[-20:]
    assert full["HyperParameters"]["network"] == '"resnet18"'
    assert full["HyperParameters"]["lr"] == found.hyperparameters["lr"]
    lines = log_lines(logs, "script-full")
    assert any("network: resnet18" in line for line in lines)
    assert any("2 classes: cat, dog" in line for line in lines)
    epochs = epochs_of_attempt(sagemaker, logs, "script-full")
    assert [epoch.epoch for epoch in epochs] == [0, 1]
    kept = next(epoch for epoch in reversed(epochs) if epoch.kept)
    result = describe_training_job(sagemaker, "script-full").with_epochs(epochs)
    assert (result.value, result.kept_epoch) == (kept.validation_accuracy, kept.epoch + 1)
    assert result.dataset_uri == version.uri
