"""Which tasks of the stages run is decided by the run conf."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.context import AwsAccess, RunningTask
from image_classification.stages.deployment import approved_deployment, tear_down
from image_classification.stages.training import (
    base_model,
    base_training,
    final_model,
    incremental_training,
    plan_trials,
    tuned_training,
    tuning,
)
from include.deployment.registry import RegisteredModel
from include.preflight import PreflightError
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.training.best_model import BestModel, NoUsableJobError
from tests.support.documents import dataset_version, described_training_job, settings
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import run_as_task, running_task

BEST = BestModel(
    job="base-job",
    objective="validation:accuracy",
    value=0.5,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={"num_layers": "20", "image_shape": "3,28,28", "num_classes": "3", "mini_batch_size": "8"},
).model_dump(mode="json")
SMALL = {"training.hyperparameters.mini_batch_size": 8}


Asked = tuple[str, RunningTask, dict[str, Any]]
"""What the body of a create call is built from."""


def order(conf: dict[str, Any], **inputs: Any) -> Asked:
    documents = {
        "conf": RunConf.from_conf({**SMALL, **conf}).model_dump(mode="json"),
        "dataset": dataset_version().model_dump(mode="json"),
        "champion": None,
        **inputs,
    }
    installation = settings(data_bucket=BUCKET, output_bucket=BUCKET, region="us-east-1")
    return "job-1", running_task(installation), documents


def of_trial(trial: dict[str, Any]) -> Asked:
    """What the mapped training task is asked with."""
    name, running, _ = order({})
    return name, running, trial


def planned(conf: dict[str, Any], champion: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The base jobs of a run, from the plan's own function."""
    _, _, documents = order(conf)
    trials: list[dict[str, Any]] = plan_trials.function(documents["conf"], documents["dataset"], champion)
    return trials


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("mode", ["tune", "tune_then_train"])
def test_a_run_that_only_tunes_trains_no_job_from_scratch(mode: str) -> None:
    assert planned({"training.mode": mode}) == []


def test_a_run_that_only_trains_does_not_tune() -> None:
    with pytest.raises(AirflowSkipException, match=r"training\.mode is train"):
        tuning(*order({"training.mode": "train"}))


def test_a_run_of_both_trains_and_tunes(aws: RunningLocalAws) -> None:
    both = {"training.mode": "both", "tuning.ranges.learning_rate": {"min": 0.01, "max": 0.1}}
    (trial,) = planned(both)

    assert base_training(*of_trial(trial))["TrainingJobName"] == "job-1"
    assert tuning(*order(both))["HyperParameterTuningJobName"] == "job-1"


@pytest.mark.usefixtures("aws")
def test_every_trial_is_a_base_job_with_what_it_changes() -> None:
    trials = [{"name": "shallow"}, {"name": "deep", "hyperparameters": {"num_layers": 56, "learning_rate": 0.02}}]

    shallow, deep = planned({"training.trials": trials})

    assert (shallow["trial"], deep["trial"]) == ("shallow", "deep")
    sent = base_training(*of_trial(deep))["HyperParameters"]
    assert (sent["num_layers"], sent["learning_rate"], sent["mini_batch_size"]) == ("56", "0.02", "8")
    assert "learning_rate" not in base_training(*of_trial(shallow))["HyperParameters"]


@pytest.mark.usefixtures("aws")
def test_a_search_that_cannot_count_what_others_found_in_other_data_is_told_when_the_version_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conf = {"training.mode": "tune", "tuning.ranges.learning_rate": {"min": 0.01, "max": 0.1}}
    earlier = tuning(*order(conf, dataset=dataset_version(uri="s3://other/datasets/pets/1/").model_dump(mode="json")))
    parent = {**earlier, "HyperParameterTuningJobStatus": "Completed"}
    known = SimpleNamespace(describe_hyper_parameter_tuning_job=lambda **_: parent)
    quick = AwsAccess.quick_clients
    monkeypatch.setattr(
        AwsAccess,
        "quick_clients",
        lambda access: lambda service, region=None: known if service == "sagemaker" else quick(access)(service),
    )
    same = {"tuning.warm_start.from": "earlier", "tuning.warm_start.type": "IdenticalDataAndAlgorithm"}

    with pytest.raises(PreflightError) as refused:
        planned({**conf, **same})

    (problem,) = refused.value.problems
    assert (problem.field, problem.value) == ("tuning.warm_start.from", "earlier")
    assert problem.remedy.startswith("used other data")


@pytest.mark.usefixtures("aws")
def test_what_only_an_endpoint_needs_does_not_stop_a_training() -> None:
    assert len(planned({"endpoint.instance_type": "ml.m5.small"})) == 1


@pytest.mark.usefixtures("aws")
def test_what_stands_against_any_trial_is_told_of_all_before_one_is_paid_for() -> None:
    trials = [
        {"name": "good"},
        {"name": "wide", "hyperparameters": {"mini_batch_size": 64}},
        {"name": "wider", "hyperparameters": {"mini_batch_size": 96}},
    ]
    with pytest.raises(PreflightError) as refused:
        planned({"training.trials": trials})
    assert [(problem.field, problem.value) for problem in refused.value.problems] == [
        ("training.hyperparameters.mini_batch_size of trial wide", 64),
        ("training.hyperparameters.mini_batch_size of trial wider", 96),
    ]


def test_a_run_that_goes_on_from_a_champion_trains_nothing_from_scratch() -> None:
    conf = {"training.mode": "both", "tuning.max_jobs": 2}

    assert planned(conf, champion=BEST) == []
    with pytest.raises(AirflowSkipException, match="goes on from base-job"):
        tuning(*order(conf, champion=BEST))


@pytest.mark.usefixtures("aws")
def test_the_full_job_after_a_tuning_has_its_best_hyperparameters_and_the_base_jobs_epochs() -> None:
    conf = {"training.mode": "tune_then_train", "training.hyperparameters.epochs": 18, "tuning.epochs": 2}
    found = {"learning_rate": "0.0021", "mini_batch_size": "16"}
    tuned = JobResult(name="tune-1", status="Completed", role="tuning", hyperparameters=found, best_job="tune-1-002")

    tuned_job = order(conf, tune=tuned.model_dump(mode="json"))

    sent = tuned_training(*tuned_job)["HyperParameters"]
    assert (sent["learning_rate"], sent["mini_batch_size"], sent["epochs"]) == ("0.0021", "16", "18")
    static = tuning(*tuned_job)["TrainingJobDefinition"]["StaticHyperParameters"]
    assert static["epochs"] == "2"


def test_a_tuning_that_found_nothing_trains_no_full_job() -> None:
    tuned = JobResult(name="tune-1", status="Completed", role="tuning").model_dump(mode="json")
    with pytest.raises(NoUsableJobError, match="No job of tune-1 reached an objective"):
        tuned_training(*order({"training.mode": "tune_then_train"}, tune=tuned))


def test_the_incremental_training_goes_on_from_the_best_model(aws: RunningLocalAws) -> None:
    request = incremental_training(*order({}, best=BEST))

    channels = {channel["ChannelName"]: channel for channel in request["InputDataConfig"]}
    assert channels["model"]["DataSource"]["S3DataSource"]["S3Uri"] == BEST["artifact"]


def test_incremental_training_can_be_switched_off() -> None:
    with pytest.raises(AirflowSkipException, match=r"incremental\.enabled is off"):
        incremental_training(*order({"incremental.enabled": False}, best=BEST))


def test_what_only_the_dataset_version_shows_is_found_before_the_job_is_paid_for(aws: RunningLocalAws) -> None:
    with pytest.raises(PreflightError, match="mini_batch_size"):
        planned({"training.hyperparameters.mini_batch_size": 64})


def test_the_model_that_goes_on_is_the_incremental_one_where_there_is_one() -> None:
    job = JobResult.of_training_job(described_training_job("incremental-job")).model_dump(mode="json")
    models = {"select_best": BEST, "train_incremental": job}

    assert (final_model(models).job, final_model(models).value) == ("incremental-job", 0.5)
    silent = {**models, "train_incremental": {**job, "accuracy": None, "metrics": {}}}
    assert final_model(silent).value is None
    assert final_model({**models, "train_incremental": None}).job == "base-job"
    assert base_model(models).job == "base-job"


def deployment_inputs(conf: dict[str, Any], approval: str = "Approved") -> dict[str, Any]:
    model = RegisteredModel(
        arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/image-classification-pets/1",
        group="image-classification-pets",
        version=1,
        approval=approval,  # type: ignore[arg-type]
        artifact=BEST["artifact"],
        image="image",
        job="base-job",
        dataset="pets",
        dataset_version="20260102T030405Z-0a1b2c3d",
        dataset_uri="s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/",
        accuracy=0.9,
    )
    return {
        "conf": RunConf.from_conf({"dataset.name": "pets", **conf}).model_dump(mode="json"),
        "dataset": dataset_version().model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
    }


@pytest.fixture(autouse=True)
def in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    run_as_task(monkeypatch)


def test_an_approved_model_is_deployed_to_the_endpoint_called_as_the_dataset() -> None:
    assert approved_deployment(running_task(settings()), deployment_inputs({})).endpoint_name == "pets"


def test_a_model_below_the_minimum_is_not_deployed() -> None:
    with pytest.raises(AirflowSkipException, match="PendingManualApproval"):
        approved_deployment(running_task(settings()), deployment_inputs({}, "PendingManualApproval"))


def test_a_run_may_end_with_the_registered_model() -> None:
    with pytest.raises(AirflowSkipException, match=r"endpoint\.deploy is off"):
        approved_deployment(running_task(settings()), deployment_inputs({"endpoint.deploy": False}))


@pytest.mark.parametrize(
    ("conf", "approval", "reason"),
    [
        ({"endpoint.keep": True}, "Approved", "endpoint.keep is on"),
        ({"endpoint.keep": False, "endpoint.deploy": False}, "Approved", "endpoint.deploy is off"),
        ({"endpoint.keep": False}, "PendingManualApproval", "version 1 is PendingManualApproval"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_endpoint_stays_where_it_is_to_be_kept_or_was_not_deployed(
    conf: dict[str, Any], approval: str, reason: str
) -> None:
    with pytest.raises(AirflowSkipException, match=reason):
        tear_down.function(**deployment_inputs(conf, approval))


def test_a_run_that_came_to_no_deployment_takes_nothing_down() -> None:
    with pytest.raises(AirflowSkipException, match="came to no deployment"):
        tear_down.function(None, None, None)


def test_taking_down_what_is_gone_already_is_no_error(aws: RunningLocalAws) -> None:
    inputs = deployment_inputs({"endpoint.keep": False, "endpoint.name": "never-there"})

    assert tear_down.function(**inputs) == []
