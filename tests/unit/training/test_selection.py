from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from include.training.selection import NoUsableJobError, select_best
from tests.unit.documents import described_training_job

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Jobs:
    """A SageMaker client that answers for these jobs, in the order in which they are asked for: by name."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.stubber = Stubber(client)

    def children(self, tuning_job: str, *names: str) -> None:
        summaries = [
            {
                "TrainingJobName": name,
                "TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{name}",
                "CreationTime": NOW,
                "TrainingJobStatus": "Completed",
                "TunedHyperParameters": {},
            }
            for name in names
        ]
        self.stubber.add_response(
            "list_training_jobs_for_hyper_parameter_tuning_job",
            {"TrainingJobSummaries": summaries},
            {"HyperParameterTuningJobName": tuning_job},
        )

    def describe(self, name: str, accuracy: float | None, **changes: Any) -> None:
        metrics = [{"MetricName": "validation:accuracy", "Value": accuracy, "Timestamp": NOW}] if accuracy else []
        answer = described_training_job(name, FinalMetricDataList=metrics, **changes)
        answer["InputDataConfig"][0]["DataSource"] = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/"}}
        self.stubber.add_response("describe_training_job", answer, {"TrainingJobName": name})


@pytest.fixture(scope="module")
def client() -> Any:
    return boto3.client(
        "sagemaker", region_name="eu-central-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture
def jobs(client: Any) -> Iterator[Jobs]:
    answers = Jobs(client)
    with answers.stubber:
        yield answers
        answers.stubber.assert_no_pending_responses()


def test_the_best_of_a_tuning_job_is_the_one_with_the_highest_objective(jobs: Jobs) -> None:
    jobs.children("tune-1", "tune-1-002", "tune-1-001")
    jobs.describe("tune-1-001", 0.8)
    jobs.describe("tune-1-002", 0.9)
    best = select_best(jobs.client, tuning_job="tune-1")
    assert (best.job, best.value, best.tuning_job) == ("tune-1-002", 0.9, "tune-1")
    assert best.artifact == "s3://models-of-acme/jobs/tune-1-002/output/model.tar.gz"
    assert [candidate.job for candidate in best.leaderboard] == ["tune-1-002", "tune-1-001"]


def test_a_plain_job_competes_with_a_tuning_job(jobs: Jobs) -> None:
    jobs.children("tune-1", "tune-1-001")
    jobs.describe("plain", 0.95)
    jobs.describe("tune-1-001", 0.8)
    best = select_best(jobs.client, tuning_job="tune-1", training_jobs=["plain"])
    assert (best.job, best.tuning_job) == ("plain", None)


def test_equal_jobs_are_told_apart_by_what_they_cost(jobs: Jobs) -> None:
    jobs.describe("dear", 0.9, BillableTimeInSeconds=500)
    jobs.describe("dearer", 0.9, BillableTimeInSeconds=501)
    jobs.describe("worse", 0.8, BillableTimeInSeconds=5)
    best = select_best(jobs.client, training_jobs=["worse", "dearer", "dear"])
    assert [candidate.job for candidate in best.leaderboard] == ["dear", "dearer", "worse"]


def test_a_smaller_objective_may_be_the_better(jobs: Jobs) -> None:
    jobs.describe("high", 0.9)
    jobs.describe("low", 0.1)
    assert select_best(jobs.client, training_jobs=["high", "low"], maximize=False).job == "low"


def test_jobs_that_cannot_be_used_are_named(jobs: Jobs) -> None:
    jobs.describe("failed", 0.99, TrainingJobStatus="Failed", FailureReason="AlgorithmError: out of memory")
    jobs.describe("good", 0.5)
    jobs.describe("silent", None)
    jobs.describe("stopped", 0.99, TrainingJobStatus="Stopped")
    best = select_best(jobs.client, training_jobs=["good", "failed", "stopped", "silent"])
    assert best.job == "good"
    assert [(skip.job, skip.reason) for skip in best.skipped] == [
        ("failed", "Failed: AlgorithmError: out of memory"),
        ("silent", "tells no validation:accuracy"),
        ("stopped", "Stopped"),
    ]


def test_no_usable_job_says_what_became_of_each(jobs: Jobs) -> None:
    jobs.children("tune-1", "tune-1-001")
    jobs.describe("tune-1-001", 0.99, TrainingJobStatus="Failed", FailureReason="ClientError: bad batch")
    with pytest.raises(NoUsableJobError) as refused:
        select_best(jobs.client, tuning_job="tune-1")
    assert str(refused.value) == (
        "No training job of tuning job tune-1 completed with validation:accuracy:\n"
        "  tune-1-001: Failed: ClientError: bad batch\n"
        "Put right what they failed on and run again."
    )


def test_nothing_to_choose_from_is_an_error(jobs: Jobs) -> None:
    with pytest.raises(NoUsableJobError, match="There is no training job to choose from"):
        select_best(jobs.client)
