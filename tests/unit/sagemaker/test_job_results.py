from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import BaseModel

from include.sagemaker.epochs import EpochMetrics, parse_epochs
from include.sagemaker.job_results import JobResult, Objective, Script, algorithm_kind, script_of
from tests.support.documents import described_training_job

LOSS = Objective(metric="validation:loss", direction="Minimize")


def test_a_training_job_is_a_small_document() -> None:
    description = described_training_job(HyperParameters={"epochs": "5", "_tuning_objective_metric": "x"})
    assert JobResult.of_training_job(description).model_dump() == {
        "name": "base-job",
        "status": "Completed",
        "role": "base",
        "algorithm": "builtin",
        "objective": "Maximize validation:accuracy",
        "hyperparameters": {"epochs": "5"},
        "value": 0.5,
        "kept_epoch": None,
        "metrics": {"validation:accuracy": 0.5},
        "artifact": "s3://models-of-acme/jobs/base-job/output/model.tar.gz",
        "dataset_uri": None,
        "source": None,
        "best_job": None,
        "instance_type": "ml.g4dn.xlarge",
        "instance_count": 1,
        "started": None,
        "ended": None,
        "training_seconds": 120,
        "billable_seconds": 100,
        "failure_reason": None,
        "rules": (),
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
    assert (result.best_job, result.metrics, result.value) == ("tune-1-002", {"validation:accuracy": 0.97}, 0.97)
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


EPOCHS = [EpochMetrics(epoch=at, metrics={"validation:accuracy": value}) for at, value in enumerate((0.3, 0.8, 0.5))]


def test_a_jobs_accuracy_is_that_of_the_weights_it_kept() -> None:
    best = JobResult.of_training_job(described_training_job()).with_epochs(EPOCHS)
    frequent = described_training_job(HyperParameters={"checkpoint_frequency": "2"})
    last = JobResult.of_training_job(frequent).with_epochs(EPOCHS)

    assert (best.value, best.kept_epoch, best.metrics) == (0.8, 2, {"validation:accuracy": 0.5})
    assert (last.value, last.kept_epoch) == (0.5, 3)


def test_a_job_that_failed_kept_nothing_and_a_stopped_one_its_best_epoch() -> None:
    failed, stopped = (
        JobResult.of_training_job(described_training_job(TrainingJobStatus=status)).with_epochs(EPOCHS)
        for status in ("Failed", "Stopped")
    )
    assert (failed.value, failed.kept_epoch) == (None, None)
    assert (stopped.value, stopped.kept_epoch) == (0.8, 2)


def test_of_several_machines_the_value_that_another_one_reported_does_not_count() -> None:
    pair = {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    metric = {"MetricName": "validation:accuracy", "Value": 0.99}
    described = described_training_job(ResourceConfig=pair, FinalMetricDataList=[metric])

    assert JobResult.of_training_job(described).with_epochs(EPOCHS).value == 0.8
    assert JobResult.of_training_job(described).with_epochs([]).value == 0.99


OWN = {"Environment": {"IMAGE_CLASSIFICATION_OBJECTIVE": "Minimize validation:loss"}}


def own_job(*lines: str, **changes: Any) -> JobResult:
    """The job of a container whose last loss is 0.7, with these lines in its log."""
    metric = {"MetricName": "validation:loss", "Value": 0.7}
    described = described_training_job(**OWN, **{"FinalMetricDataList": [metric], **changes})
    return JobResult.of_training_job(described).with_epochs(parse_epochs(lines))


def test_a_job_of_ones_own_is_known_by_the_last_value_that_aws_reports() -> None:
    job = own_job("Epoch[0] Validation-loss=0.3", "Epoch[1] Validation-loss=0.7")

    assert (job.algorithm, str(job.objective)) == ("container", "Minimize validation:loss")
    assert (job.value, job.kept_epoch) == (0.7, None)


def test_a_job_of_ones_own_that_prints_what_it_kept_is_known_by_that() -> None:
    lines = ["Epoch[0] Validation-loss=0.9", "Epoch[0] Kept", "Epoch[1] Validation-loss=0.3", "Epoch[1] Kept: better"]
    job = own_job(*lines, "Epoch[2] Validation-loss=0.7")

    assert (job.value, job.kept_epoch) == (0.3, 2)


def test_a_restarted_job_of_ones_own_has_lost_what_it_kept_after_its_checkpoint() -> None:
    before = [f"Epoch[{epoch}] {what}" for epoch in (0, 1) for what in (f"Validation-loss=0.{5 - epoch}", "Kept")]
    job = own_job(*before, "Epoch[1] Validation-loss=0.6", "Epoch[2] Validation-loss=0.7")

    assert (job.value, job.kept_epoch) == (0.5, 1)


def test_what_the_toolkit_was_told_is_not_among_the_hyperparameters_of_a_script() -> None:
    sent = {"lr": "0.1", "network": '"resnet34"', "sagemaker_program": '"train.py"', "sagemaker_job_name": '"a"'}
    job = own_job(HyperParameters=sent)

    assert (job.algorithm, job.hyperparameters) == ("script", {"lr": "0.1", "network": '"resnet34"'})
    assert job.readable_hyperparameters == {"lr": "0.1", "network": "resnet34"}


def test_the_code_of_a_script_without_a_network_is_that_of_its_channel() -> None:
    uri = "s3://models-of-acme/code/0a1b/sourcedir.tar.gz"
    code = {"ChannelName": "code", "DataSource": {"S3DataSource": {"S3Uri": uri}}}
    program = {"sagemaker_program": '"train.py"'}
    sent = {**program, "sagemaker_submit_directory": '"/opt/ml/input/data/code/sourcedir.tar.gz"'}

    assert own_job(HyperParameters={**program, "sagemaker_submit_directory": f'"{uri}"'}).source == uri
    assert own_job(HyperParameters=sent, InputDataConfig=[code]).source == uri


@pytest.mark.parametrize(
    ("channel", "key"),
    [
        ("train", "train/"),
        ("train", "folders/train/"),
        ("train", "replay/0.5-0a1b2c3d/folders/train/"),
        ("manifest", "manifest.parquet"),
    ],
)
def test_a_job_shows_its_dataset_version_however_it_got_the_images(channel: str, key: str) -> None:
    uri = "s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/"
    given = {"ChannelName": channel, "DataSource": {"S3DataSource": {"S3Uri": f"{uri}{key}"}}}
    assert JobResult.of_training_job(described_training_job(InputDataConfig=[given])).dataset_uri == uri


class Document(BaseModel):
    objective: Objective


def test_an_objective_is_a_text_in_a_document_and_in_the_environment_of_a_job() -> None:
    document = Document(objective=LOSS)

    assert document.model_dump() == {"objective": "Minimize validation:loss"}
    assert Document.model_validate_json(document.model_dump_json()) == document
    assert Objective.of_job({"Environment": LOSS.as_environment}) == LOSS


def test_a_document_from_before_names_the_metric_alone() -> None:
    assert Document.model_validate({"objective": "validation:accuracy"}).objective == Objective.VALIDATION_ACCURACY


def test_a_job_that_names_no_objective_is_the_built_in_algorithms() -> None:
    assert Objective.of_job({"Environment": {"OMP_NUM_THREADS": "1"}}) == Objective.VALIDATION_ACCURACY
    assert Objective.of_search({}) == Objective.VALIDATION_ACCURACY


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ({"HyperParameters": {"num_layers": "20"}}, "builtin"),
        ({"HyperParameters": {"sagemaker_program": '"train.py"'}, "Environment": LOSS.as_environment}, "script"),
        ({"StaticHyperParameters": {"sagemaker_program": '"train.py"'}}, "script"),
        ({"HyperParameters": {"lr": "0.1"}, "Environment": LOSS.as_environment}, "container"),
    ],
)
def test_the_kind_of_algorithm_is_seen_of_a_job(description: dict[str, object], kind: str) -> None:
    assert algorithm_kind(description) == kind


@pytest.mark.parametrize("sent", ["HyperParameters", "StaticHyperParameters"])
def test_the_archive_of_a_script_is_that_of_its_channel_where_the_container_reaches_no_network(sent: str) -> None:
    code = {"ChannelName": "code", "DataSource": {"S3DataSource": {"S3Uri": "s3://code/1a2b/sourcedir.tar.gz"}}}
    inside = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"/opt/ml/input/data/code"'}
    downloaded = {**inside, "sagemaker_submit_directory": '"s3://code/3c4d/sourcedir.tar.gz"'}

    assert script_of({sent: inside, "InputDataConfig": [code]}) == Script("train.py", "s3://code/1a2b/sourcedir.tar.gz")
    assert script_of({sent: downloaded}) == Script("train.py", "s3://code/3c4d/sourcedir.tar.gz")
    assert script_of({sent: inside}) == Script("train.py", None)
    assert script_of({sent: {"lr": "0.1"}, "InputDataConfig": [code]}) is None


def test_an_accuracy_is_shown_as_a_share_and_a_loss_as_a_number() -> None:
    assert Objective.VALIDATION_ACCURACY.shown(0.9321) == "93.21%"
    assert LOSS.shown(1.23456) == "1.235"


def test_less_of_a_loss_is_better_and_what_is_not_a_number_is_the_worst() -> None:
    values = [0.5, None, 0.1, math.nan, 2.0]

    assert sorted(values, key=LOSS.distance)[:3] == [0.1, 0.5, 2.0]
    assert sorted(values, key=Objective.VALIDATION_ACCURACY.distance)[:3] == [2.0, 0.5, 0.1]
    assert LOSS.is_worse(0.5, 0.4)
    assert not LOSS.is_worse(0.4, 0.4)
    assert LOSS.is_worse(math.nan, 5.0)
