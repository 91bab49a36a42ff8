"""What a run trains and which of its models is selected, with SageMaker and its logs as moto has them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from moto import mock_aws

from image_classification.stages.training import (
    base_model,
    compare_jobs,
    final_model,
    incremental_training,
    plan_trials,
    select_best,
    tuned_training,
    tuning,
)
from include.run_conf import RunConf
from include.sagemaker.api import TRAINING_LOGS
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import job_name
from include.training.best_model import NoUsableJobError
from tests.support.archives import tar_of
from tests.support.documents import BEST_MODEL, dataset_version, described_training_job
from tests.support.local_aws import BUCKET
from tests.support.running_task import SETTINGS, asked, left_out, run_as_task

DAG, RUN = "train_model", "manual__2026-01-02"
DATASET = dataset_version().model_dump(mode="json")
TRIALS = [{"trial": name, "conf": RunConf().model_dump(mode="json"), "dataset": DATASET} for name in ("wavy", "steady")]


class Services:
    """SageMaker, its logs and S3, with the jobs that the tasks of a run would start."""

    def __init__(self) -> None:
        self.sagemaker = boto3.client("sagemaker", region_name="us-east-1")
        self.logs = boto3.client("logs", region_name="us-east-1")
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.s3.create_bucket(Bucket=BUCKET)
        self.logs.create_log_group(logGroupName=TRAINING_LOGS)

    def trained(self, name: str, *accuracies: float, **hyperparameters: str) -> str:
        """A finished job whose log shows these validation accuracies."""
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
            RoleArn=SETTINGS["execution_role_arn"],
            HyperParameters=hyperparameters,
            OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/jobs"},
            ResourceConfig={"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
        stream = f"{name}/algo-1-1767323045"
        self.logs.create_log_stream(logGroupName=TRAINING_LOGS, logStreamName=stream)
        now = int(time.time() * 1000)
        events = [
            {"timestamp": now, "message": f"Epoch[{epoch}] Validation-accuracy={accuracy}"}
            for epoch, accuracy in enumerate(accuracies)
        ]
        self.logs.put_log_events(logGroupName=TRAINING_LOGS, logStreamName=stream, logEvents=events)
        self.left(name, {"model-symbol.json": b"{}"})
        return name

    def left(self, name: str, files: dict[str, bytes]) -> None:
        """The files of a job's artifact, in the place of those before."""
        description = self.sagemaker.describe_training_job(TrainingJobName=name)
        key = description["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=tar_of(files))

    def leaderboard(self, uri: str) -> dict[str, Any]:
        key = uri.removeprefix(f"s3://{BUCKET}/")
        document: dict[str, Any] = json.loads(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        return document


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(SETTINGS))
    run_as_task(monkeypatch, dag_id=DAG, run_id=RUN)
    with mock_aws():
        yield Services()


def base(index: int) -> str:
    return job_name(dag_id=DAG, run_id=RUN, task_id="training.train", map_index=index)


INCREMENTAL = job_name(dag_id=DAG, run_id=RUN, task_id="training.train_incremental")


def conf(**changes: Any) -> dict[str, Any]:
    return RunConf.from_conf(changes).model_dump(mode="json")


def test_the_job_with_the_best_model_is_selected_and_the_leaderboard_marks_what_the_run_ends_with(
    services: Services,
) -> None:
    services.trained(base(0), 0.5, 0.5, 0.75, 0.35, 1.0, 0.6)
    services.trained(base(1), 0.5, 0.95)

    best = select_best.function(conf(), DATASET, None, TRIALS)

    assert (best["job"], best["trial"], best["value"]) == (base(0), "wavy", 1.0)
    assert best["reason"].startswith("the highest validation:accuracy: 1.0000 after epoch 5")

    services.trained(INCREMENTAL, 0.7, 0.4)
    board = services.leaderboard(compare_jobs.function(conf(), None, TRIALS, best))
    assert (board["best"], board["final"]) == (base(0), INCREMENTAL)
    assert [(job["job"], job["objective"]) for job in board["jobs"]] == [
        (base(0), 1.0),
        (base(1), 0.95),
        (INCREMENTAL, 0.7),
    ]

    off = conf(**{"incremental.enabled": False})
    assert services.leaderboard(compare_jobs.function(off, None, TRIALS, best))["final"] == base(0)


@pytest.mark.parametrize(("enabled", "expected"), [(True, set()), (False, {"training.train_incremental"})])
@pytest.mark.parametrize("champion", [None, BEST_MODEL])
def test_without_an_incremental_training_its_task_does_not_start(
    services: Services, monkeypatch: pytest.MonkeyPatch, champion: Any, enabled: bool, expected: set[str]
) -> None:
    handed_on: dict[str, Any] = {}
    run_as_task(monkeypatch, dag_id=DAG, run_id=RUN, handed_on=handed_on)
    services.trained(base(0), 0.9)
    asked_with = conf(**{"incremental.enabled": enabled})

    select_best.function(asked_with, DATASET, champion, [{**TRIALS[0], "conf": asked_with}])

    assert left_out(handed_on) == expected


def test_with_a_checkpoint_frequency_the_last_epoch_counts(services: Services) -> None:
    services.trained(base(0), 1.0, 0.6, checkpoint_frequency="1")
    services.trained(base(1), 0.5, 0.7)

    assert select_best.function(conf(), DATASET, None, TRIALS)["job"] == base(1)


def test_a_job_with_an_empty_archive_is_not_selected(services: Services) -> None:
    services.left(services.trained(base(0), 0.9), {})
    services.trained(base(1), 0.7)

    assert select_best.function(conf(), DATASET, None, TRIALS)["job"] == base(1)
    services.left(base(1), {})
    with pytest.raises(NoUsableJobError, match=rf"{base(1)}: left no model: s3://\S+/model\.tar\.gz has no file"):
        select_best.function(conf(), DATASET, None, TRIALS)


def test_the_model_that_a_retraining_trains_further_is_the_parent(services: Services) -> None:
    described = services.sagemaker.describe_training_job(TrainingJobName=services.trained("earlier", 0.9, 0.8))
    parent = {
        "job": "earlier",
        "objective": "validation:accuracy",
        "value": 0.9,
        "artifact": str(JobResult.of_training_job(described).artifact),
        "hyperparameters": {},
    }
    services.trained(INCREMENTAL, 0.95)

    board = services.leaderboard(compare_jobs.function(conf(), parent, [], parent))

    assert [(job["part"], job["objective"]) for job in board["jobs"]] == [("incremental", 0.95), ("parent", 0.9)]
    assert board["final"] == INCREMENTAL


def test_a_run_whose_incremental_job_never_came_ends_with_no_model(services: Services) -> None:
    services.trained(base(0), 0.5)
    best = select_best.function(conf(), DATASET, None, TRIALS[:1])

    assert best["reason"] == "validation:accuracy 0.5000 after epoch 1, the only job"
    board = services.leaderboard(compare_jobs.function(conf(), None, TRIALS[:1], best))
    assert (board["best"], board["final"]) == (base(0), None)


def test_a_run_that_only_trains_does_not_tune() -> None:
    with pytest.raises(AirflowSkipException, match=r"training\.mode is train"):
        tuning(*asked({"training.mode": "train"}))


def test_a_run_that_goes_on_from_a_champion_trains_nothing_from_scratch(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = {"training.mode": "both", "tuning.max_jobs": 2}
    handed_on: dict[str, Any] = {}
    run_as_task(monkeypatch, dag_id=DAG, run_id=RUN, handed_on=handed_on)

    _, _, inputs = asked(conf)

    assert plan_trials.function(inputs["conf"], inputs["dataset"], BEST_MODEL) == []
    assert left_out(handed_on) == {"training.tune", "training.train_tuned"}


def test_a_tuning_that_found_nothing_trains_no_full_job() -> None:
    tuned = JobResult(name="tune-1", status="Completed", role="tuning").model_dump(mode="json")
    with pytest.raises(NoUsableJobError, match="No job of tune-1 reached an objective"):
        tuned_training(*asked({"training.mode": "tune_then_train"}, tune=tuned))


def test_incremental_training_can_be_switched_off() -> None:
    with pytest.raises(AirflowSkipException, match=r"incremental\.enabled is off"):
        incremental_training(*asked({"incremental.enabled": False}, best=BEST_MODEL))


def test_the_model_that_goes_on_is_the_incremental_one_where_there_is_one() -> None:
    job = JobResult.of_training_job(described_training_job("incremental-job")).model_dump(mode="json")
    models = {"select_best": BEST_MODEL, "train_incremental": job}

    assert (final_model(models).job, final_model(models).value) == ("incremental-job", 0.5)
    silent = {**models, "train_incremental": {**job, "value": None, "metrics": {}}}
    assert final_model(silent).value is None
    assert final_model({**models, "train_incremental": None}).job == "base-job"
    assert base_model(models).job == "base-job"
