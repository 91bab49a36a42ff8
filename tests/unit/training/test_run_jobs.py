"""Finding the jobs of a run, those of a large tuning job among them, in a SageMaker that counts what it is asked."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.sagemaker.epochs import EpochMetrics
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import LONGEST_TUNING_NAME, Run, job_name
from include.training.best_model import select_best
from include.training.run_jobs import MOST_LOGS, RunJob, training_attempts, tuning_attempts, tuning_result, with_epochs
from tests.support.documents import described_training_job

BUCKET = "models-of-acme"
RUN = Run("image_classification", "manual__2026-01-02")
START = datetime(2026, 1, 2, tzinfo=UTC)
TUNING = job_name(dag_id=RUN.dag_id, run_id=RUN.run_id, task_id="training.tune", longest=LONGEST_TUNING_NAME)


class CountingSageMaker:
    """Jobs by name; `calls` counts the calls by action."""

    def __init__(self, children: int = 0, **jobs: dict[str, Any]) -> None:
        self.jobs = {description["TrainingJobName"]: description for description in jobs.values()}
        self.children = children
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        self._count("describe_training_job")
        if TrainingJobName.startswith(f"{TUNING}-"):
            return child_description(TrainingJobName)
        return found(self.jobs, TrainingJobName)

    def describe_hyper_parameter_tuning_job(self, HyperParameterTuningJobName: str) -> dict[str, Any]:
        self._count("describe_tuning_job")
        return found({TUNING: tuning_description()} if self.children else {}, HyperParameterTuningJobName)

    def get_paginator(self, action: str) -> Any:
        assert action == "list_training_jobs_for_hyper_parameter_tuning_job"
        return self

    def paginate(self, HyperParameterTuningJobName: str, PaginationConfig: dict[str, int]) -> Any:
        size = PaginationConfig["PageSize"]
        for first in range(0, self.children, size):
            self._count("list")
            last = min(first + size, self.children)
            yield {"TrainingJobSummaries": [child_summary(number) for number in range(first, last)]}

    def _count(self, action: str) -> None:
        with self._lock:
            self.calls[action] += 1


def found(known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    if name not in known:
        error = {"Error": {"Code": "ValidationException", "Message": "Requested resource not found."}}
        raise ClientError(error, "Describe")  # type: ignore[arg-type]
    return known[name]


def accuracy(number: int) -> float:
    return round(1 - abs(number - 400) / 1000, 4)


def child_summary(number: int) -> dict[str, Any]:
    failed = number % 50 == 49
    metric = {"MetricName": "validation:accuracy", "Value": accuracy(number)}
    return {
        "TrainingJobName": f"{TUNING}-{number:03d}",
        "TrainingJobStatus": "Failed" if failed else "Completed",
        "TrainingStartTime": START,
        "TrainingEndTime": START + timedelta(seconds=60),
        "TunedHyperParameters": {"learning_rate": str(number)},
        **({"FailureReason": "AlgorithmError"} if failed else {"FinalHyperParameterTuningJobObjectiveMetric": metric}),
    }


def child_description(name: str) -> dict[str, Any]:
    metric = {"MetricName": "validation:accuracy", "Value": accuracy(int(name.rpartition("-")[2]))}
    sent = {"num_layers": "20", "learning_rate": str(int(name.rpartition("-")[2])), "epochs": "3"}
    return described_training_job(name, TuningJobArn="arn:tuning", FinalMetricDataList=[metric], HyperParameters=sent)


def tuning_description() -> dict[str, Any]:
    source = {"S3DataSource": {"S3Uri": "s3://images-of-acme/datasets/pets/1/train/"}}
    return {
        "HyperParameterTuningJobName": TUNING,
        "TrainingJobDefinition": {
            "StaticHyperParameters": {"num_layers": "20"},
            "InputDataConfig": [{"ChannelName": "train", "DataSource": source}],
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2},
        },
    }


def attempt(number: int, status: str, map_index: int = -1) -> dict[str, Any]:
    name = job_name(dag_id=RUN.dag_id, run_id=RUN.run_id, task_id="training.train", map_index=map_index, attempt=number)
    return described_training_job(name, TrainingJobStatus=status)


def test_every_attempt_of_a_trial_is_found() -> None:
    sagemaker: Any = CountingSageMaker(first=attempt(1, "Failed", 1), second=attempt(2, "Completed", 1))

    jobs = training_attempts(sagemaker, RUN, "training.train", "base", output_bucket=BUCKET, map_index=1, trial="deep")

    assert [(job.result.status, job.part, job.trial) for job in jobs] == [
        ("Failed", "base", "deep"),
        ("Completed", "base", "deep"),
    ]
    assert training_attempts(sagemaker, RUN, "training.train", "base", output_bucket=BUCKET, map_index=0) == []


def test_a_job_that_another_installation_started_for_a_run_of_the_same_name_is_none_of_the_run() -> None:
    theirs = attempt(1, "Completed") | {"OutputDataConfig": {"S3OutputPath": "s3://models-of-another-team/jobs"}}
    sagemaker: Any = CountingSageMaker(theirs=theirs, mine=attempt(2, "Completed"))

    (job,) = training_attempts(sagemaker, RUN, "training.train", "base", output_bucket=BUCKET)

    assert job.result.name == attempt(2, "Completed")["TrainingJobName"]


def test_of_a_large_tuning_job_only_the_best_are_described_one_by_one() -> None:
    sagemaker: Any = CountingSageMaker(children=750)

    jobs = tuning_attempts(sagemaker, RUN, "training.tune", output_bucket=BUCKET)

    assert len(jobs) == 750
    assert sagemaker.calls == {"describe_training_job": 100, "describe_tuning_job": 2, "list": 8}
    assert sum(job.result.artifact is not None for job in jobs) == 100
    selected = select_best(jobs)
    assert selected.best.job == f"{TUNING}-400"
    assert len(selected.skipped) == 15


def test_a_job_that_was_only_listed_tells_what_it_was_sent_and_how_long_it_took() -> None:
    sagemaker: Any = CountingSageMaker(children=750)

    last = tuning_attempts(sagemaker, RUN, "training.tune", output_bucket=BUCKET)[748]

    assert last.result.hyperparameters == {"num_layers": "20", "learning_rate": "748"}
    assert last.result.dataset_uri == "s3://images-of-acme/datasets/pets/1/"
    assert (last.result.billable_seconds, last.result.instance_type) == (60, "ml.g5.xlarge")
    assert (last.result.instance_count, last.tuning_job) == (2, TUNING)


def logged(monkeypatch: pytest.MonkeyPatch, **epochs: list[float]) -> list[str]:
    """Let the jobs' logs show these accuracies; the names of the jobs whose logs are read."""
    asked: list[str] = []

    def epochs_of_jobs(_: Any, jobs: list[str]) -> dict[str, list[EpochMetrics]]:
        asked.extend(jobs)
        return {
            job: [
                EpochMetrics(epoch=at, metrics={"validation:accuracy": value})
                for at, value in enumerate(epochs.get(job.rpartition("-")[2], []))
            ]
            for job in jobs
        }

    monkeypatch.setattr("include.training.run_jobs.epochs_of_jobs", epochs_of_jobs)
    return asked


def test_the_job_with_the_best_weights_is_selected_whatever_its_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    logged(monkeypatch, wavy=[0.2, 0.99, 0.1], steady=[0.5, 0.6, 0.9])
    jobs = [
        RunJob(JobResult.of_training_job(described_training_job(name, FinalMetricDataList=[metric])), "base")
        for name, metric in (
            ("job-wavy", {"MetricName": "validation:accuracy", "Value": 0.1}),
            ("job-steady", {"MetricName": "validation:accuracy", "Value": 0.9}),
            ("job-silent", {"MetricName": "validation:accuracy", "Value": 0.95}),
        )
    ]

    best = select_best(with_epochs(SimpleNamespace(), jobs)).best  # type: ignore[arg-type]

    assert select_best(jobs).best.job == "job-silent"
    assert (best.job, best.value) == ("job-wavy", 0.99)


def test_a_search_is_won_by_the_job_that_left_the_best_model(monkeypatch: pytest.MonkeyPatch) -> None:
    logged(monkeypatch, **{"003": [0.1, 0.97, accuracy(3)], "004": [0.2, 0.3, accuracy(4)]})
    sagemaker: Any = CountingSageMaker(children=5)
    named = {
        "TrainingJobName": f"{TUNING}-004",
        "TunedHyperParameters": {"learning_rate": "4"},
        "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:accuracy", "Value": accuracy(4)},
    }
    described = {**tuning_description(), "HyperParameterTuningJobStatus": "Completed", "BestTrainingJob": named}

    result = tuning_result(sagemaker, SimpleNamespace(), described)  # type: ignore[arg-type]

    assert JobResult.of_tuning_job(described).best_job == f"{TUNING}-004"
    assert (result.best_job, result.value, result.kept_epoch) == (f"{TUNING}-003", 0.97, 2)
    assert result.hyperparameters == {"learning_rate": "3"}


def test_a_search_that_found_nothing_has_no_best(monkeypatch: pytest.MonkeyPatch) -> None:
    logged(monkeypatch)
    described = {**tuning_description(), "HyperParameterTuningJobStatus": "Failed"}
    sagemaker: Any = CountingSageMaker()

    result = tuning_result(sagemaker, SimpleNamespace(), described)  # type: ignore[arg-type]

    assert (result.best_job, result.value, result.hyperparameters) == (None, None, {})


def test_of_many_jobs_the_logs_of_those_outside_the_search_and_of_the_best_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = logged(monkeypatch)
    sagemaker: Any = CountingSageMaker(children=750)
    plain = RunJob(JobResult.of_training_job(described_training_job("plain", FinalMetricDataList=[])), "base")

    jobs = with_epochs(
        SimpleNamespace(), [*tuning_attempts(sagemaker, RUN, "training.tune", output_bucket=BUCKET), plain]
    )  # type: ignore[arg-type]

    assert (len(jobs), len(asked)) == (751, MOST_LOGS)
    assert {"plain", f"{TUNING}-400"} < set(asked)
    assert f"{TUNING}-000" not in asked
