from __future__ import annotations

from include.training.results import JobResult
from tests.unit.documents import described_training_job


def test_a_training_job_is_a_small_document() -> None:
    description = described_training_job(HyperParameters={"epochs": "5", "_tuning_objective_metric": "x"})
    assert JobResult.of_training_job(description).model_dump() == {
        "name": "base-job",
        "status": "Completed",
        "role": "base",
        "hyperparameters": {"epochs": "5"},
        "metrics": {"validation:accuracy": 0.5},
        "artifact": "s3://models-of-acme/jobs/base-job/output/model.tar.gz",
        "dataset_uri": None,
        "best_job": None,
        "instance_type": "ml.g4dn.xlarge",
        "instance_count": 1,
        "training_seconds": 120,
        "billable_seconds": 100,
        "failure_reason": None,
    }


def test_the_role_is_told_by_what_the_job_was_started_with() -> None:
    tuned = described_training_job(TuningJobArn="arn:aws:sagemaker:eu-central-1:123456789012:tuning")
    channels = [{"ChannelName": "train", "DataSource": {}}, {"ChannelName": "model", "DataSource": {}}]
    resumed = described_training_job(InputDataConfig=channels)
    assert JobResult.of_training_job(tuned).role == "tuning"
    assert JobResult.of_training_job(resumed).role == "incremental"


def test_a_failed_job_keeps_its_reason() -> None:
    result = JobResult.of_training_job(
        {
            "TrainingJobName": "broken",
            "TrainingJobStatus": "Failed",
            "FailureReason": "ClientError: num_classes is required",
        }
    )
    assert (result.status, result.failure_reason) == ("Failed", "ClientError: num_classes is required")
    assert (result.artifact, result.metrics, result.billable_seconds) == (None, {}, None)


def test_a_tuning_job_tells_its_best() -> None:
    result = JobResult.of_tuning_job(
        {
            "HyperParameterTuningJobName": "tune-1",
            "HyperParameterTuningJobStatus": "Completed",
            "BestTrainingJob": {
                "TrainingJobName": "tune-1-002",
                "TunedHyperParameters": {"learning_rate": "0.03"},
                "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:accuracy", "Value": 0.97},
            },
        }
    )
    assert (result.best_job, result.metrics) == ("tune-1-002", {"validation:accuracy": 0.97})
    assert result.hyperparameters == {"learning_rate": "0.03"}


def test_a_tuning_job_without_a_finished_job_has_no_best() -> None:
    result = JobResult.of_tuning_job(
        {
            "HyperParameterTuningJobName": "tune-1",
            "HyperParameterTuningJobStatus": "Failed",
            "FailureReason": "all failed",
        }
    )
    assert (result.best_job, result.metrics, result.failure_reason) == (None, {}, "all failed")


def test_a_job_tells_the_dataset_version_it_learned_from() -> None:
    uri = "s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/"
    train = {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": f"{uri}train/"}}}
    assert JobResult.of_training_job(described_training_job(InputDataConfig=[train])).dataset_uri == uri
