"""What the tasks of the training stage ask for is decided by the run conf, and checked against the services."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from image_classification.context import AwsAccess
from image_classification.stages.training import (
    base_training,
    find_start,
    incremental_training,
    plan_trials,
    tuned_training,
    tuning,
)
from include.datasets.replay import Replay
from include.datasets.version import DatasetVersion
from include.preflight import PreflightError
from include.retraining import take_turn
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from include.settings import Settings
from include.training.best_model import BestModel
from tests.support.documents import BEST_MODEL, dataset_version
from tests.support.local_aws import RunningLocalAws
from tests.support.running_task import SETTINGS, Asked, asked, left_out, run_as_task
from tests.support.served_models import IMAGE, deployed, registered

RANGES = {"tuning.ranges.learning_rate": {"min": 0.01, "max": 0.1}}


@pytest.fixture(autouse=True)
def in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    run_as_task(monkeypatch)


def of_trial(trial: dict[str, Any]) -> Asked:
    """What the mapped training task is asked with."""
    name, running, _ = asked({})
    return name, running, trial


def planned(conf: dict[str, Any]) -> list[dict[str, Any]]:
    """The base jobs of a run, from the plan's own function."""
    _, _, documents = asked(conf)
    trials: list[dict[str, Any]] = plan_trials.function(documents["conf"], documents["dataset"], None)
    return trials


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("mode", ["tune", "tune_then_train"])
def test_a_run_that_only_tunes_trains_no_job_from_scratch(mode: str) -> None:
    assert planned({"training.mode": mode}) == []


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("train", {"training.tune", "training.train_tuned"}),
        ("both", {"training.train_tuned"}),
        ("tune_then_train", set()),
    ],
)
def test_of_a_search_no_task_starts_that_the_mode_leaves_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, mode: str, expected: set[str]
) -> None:
    handed_on: dict[str, Any] = {}
    run_as_task(monkeypatch, handed_on=handed_on)
    planned({"training.mode": mode, **({} if mode == "train" else RANGES)})

    assert left_out(handed_on) == expected


def test_a_run_of_both_trains_and_tunes(aws: RunningLocalAws) -> None:
    both = {"training.mode": "both", **RANGES}
    (trial,) = planned(both)

    assert base_training(*of_trial(trial))["TrainingJobName"] == "job-1"
    assert tuning(*asked(both))["HyperParameterTuningJobName"] == "job-1"


def test_a_version_of_other_classes_than_those_that_serve_is_refused_before_a_job_starts(aws: RunningLocalAws) -> None:
    settings = Settings.from_variable({**SETTINGS, "image_uri": IMAGE})
    owls = registered(aws, settings, "pets-with-owls", labels=["cat", "dog", "fox", "owl"])
    deployed(aws, settings, owls)
    conf = {"dataset.name": "pets-with-owls"}

    with pytest.raises(PreflightError, match="the endpoint pets-with-owls serves 4 classes, this run has 3"):
        planned(conf)
    assert len(planned({**conf, "promotion.allow_label_change": True})) == 1
    assert len(planned({**conf, "endpoint.deploy": False})) == 1


@pytest.mark.usefixtures("aws")
def test_every_trial_is_a_base_job_with_what_it_changes() -> None:
    trials = [{"name": "shallow"}, {"name": "deep", "hyperparameters": {"num_layers": 56, "learning_rate": 0.02}}]

    shallow, deep = planned({"training.trials": trials})

    assert (shallow["trial"], deep["trial"]) == ("shallow", "deep")
    sent = base_training(*of_trial(deep))["HyperParameters"]
    assert (sent["num_layers"], sent["learning_rate"], sent["mini_batch_size"]) == ("56", "0.02", "8")
    assert "learning_rate" not in base_training(*of_trial(shallow))["HyperParameters"]


def test_a_script_is_packed_before_its_job_which_names_the_archive(aws: RunningLocalAws) -> None:
    (trial,) = planned({"training.algorithm.kind": "script", "resources.instance_type": "ml.m5.large"})

    sent = base_training(*of_trial(trial))
    bucket, _, key = json.loads(sent["HyperParameters"]["sagemaker_submit_directory"])[len("s3://") :].partition("/")
    with tarfile.open(fileobj=io.BytesIO(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())) as tar:
        assert {"train.py", "inference.py", "hyperparameters.py"} <= {*tar.getnames()}


@pytest.mark.usefixtures("aws")
def test_a_search_that_cannot_count_what_others_found_in_other_data_is_told_when_the_version_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conf = {"training.mode": "tune", "tuning.ranges.learning_rate": {"min": 0.01, "max": 0.1}}
    earlier = tuning(*asked(conf, dataset=dataset_version(uri="s3://other/datasets/pets/1/").model_dump(mode="json")))
    parent = {**earlier, "HyperParameterTuningJobStatus": "Completed"}
    quick = AwsAccess.quick_clients

    def clients(access: AwsAccess) -> Any:
        def make(service: str, region: str | None = None) -> Any:
            client = quick(access)(service)
            if service == "sagemaker":
                client.describe_hyper_parameter_tuning_job = lambda **_: parent
            return client

        return make

    monkeypatch.setattr(AwsAccess, "quick_clients", clients)
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


@pytest.mark.usefixtures("aws")
def test_the_full_job_after_a_tuning_has_its_best_hyperparameters_and_the_base_jobs_epochs() -> None:
    conf = {"training.mode": "tune_then_train", "training.hyperparameters.epochs": 18, "tuning.epochs": 2}
    found = {"learning_rate": "0.0021", "mini_batch_size": "16"}
    tuned = JobResult(name="tune-1", status="Completed", role="tuning", hyperparameters=found, best_job="tune-1-002")

    tuned_job = asked(conf, tune=tuned.model_dump(mode="json"))

    sent = tuned_training(*tuned_job)["HyperParameters"]
    assert (sent["learning_rate"], sent["mini_batch_size"], sent["epochs"]) == ("0.0021", "16", "18")
    static = tuning(*tuned_job)["TrainingJobDefinition"]["StaticHyperParameters"]
    assert static["epochs"] == "2"


def test_the_incremental_training_goes_on_from_the_best_model(aws: RunningLocalAws) -> None:
    request = incremental_training(*asked({}, best=BEST_MODEL))

    channels = {channel["ChannelName"]: channel for channel in request["InputDataConfig"]}
    assert channels["model"]["DataSource"]["S3DataSource"]["S3Uri"] == BEST_MODEL["artifact"]


def test_a_retraining_that_is_cleared_late_starts_no_job_while_a_newer_one_has_the_turn(aws: RunningLocalAws) -> None:
    name, running, documents = asked({}, best=BEST_MODEL, retrains=True)
    s3, bucket, dataset = aws.client("s3"), running.settings.data_bucket, documents["dataset"]["name"]
    newer = Run("retrain_on_new_images", "newer")
    take_turn(s3, bucket, dataset, newer, lambda _: "unfinished")
    running.airflow["ti"].get_dr_count = lambda **_: 1  # type: ignore[method-assign]

    with pytest.raises(AirflowFailException, match="newer of retrain_on_new_images trains the champion further"):
        incremental_training(name, running, documents)

    running.airflow["ti"].get_dr_count = lambda **asked: int("states" not in asked)  # type: ignore[method-assign]
    assert incremental_training(name, running, documents)["TrainingJobName"] == name
    assert take_turn(s3, bucket, dataset, newer, lambda _: "unfinished") == running.run


def test_an_earlier_model_that_does_not_fit_the_data_is_refused_before_anything_costs_money(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(conf: dict[str, Any]) -> Any:
        run_as_task(monkeypatch)
        _, _, documents = asked(conf)
        return find_start.function(documents["conf"], documents["dataset"])

    other = BestModel.model_validate(
        {**BEST_MODEL, "hyperparameters": {**BEST_MODEL["hyperparameters"], "num_classes": "9"}}
    )
    monkeypatch.setattr("include.promotion.champion._model_of_job", lambda *_: other)

    assert start({}) is None
    with pytest.raises(PreflightError) as refused:
        start({"training.mode": "none", "incremental.from": "base-job"})
    assert {problem.field for problem in refused.value.problems} == {"dataset.labels"}
    monkeypatch.setattr("include.promotion.champion._model_of_job", lambda *_: BestModel.model_validate(BEST_MODEL))
    assert start({"training.mode": "none", "incremental.from": "base-job"})["job"] == "base-job"


def test_an_incremental_training_may_see_a_share_of_the_old_images(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[tuple[str, float]] = []
    written: list[str] = []

    def choose(_: Any, version: DatasetVersion, *, learned: str, share: float) -> Replay:
        asked_for.append((learned, share))
        return Replay(version, f"{version.layout.prefix}replay/0.5-1a/train/", new=4, replayed=20, old=40, ranges=())

    monkeypatch.setattr("include.datasets.replay.choose_replayed", choose)
    monkeypatch.setattr(Replay, "write", lambda replay, _: written.append(replay.uri))
    best = {**BEST_MODEL, "dataset_uri": "s3://data/datasets/pets/before/"}

    request = incremental_training(*asked({"incremental.replay": 0.5}, best=best))

    train = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]
    assert asked_for == [("s3://data/datasets/pets/before/", 0.5)]
    assert written == [train]
    assert train.endswith("/replay/0.5-1a/train/")
    assert request["HyperParameters"]["num_training_samples"] == "24"
    with pytest.raises(PreflightError, match="mini_batch_size"):
        incremental_training(
            *asked({"incremental.replay": 0.5, "incremental.hyperparameters.mini_batch_size": 32}, best=best)
        )
    assert written == [train], "nothing is written for a job that cannot work"


def test_what_only_the_dataset_version_shows_is_found_before_the_job_is_paid_for(aws: RunningLocalAws) -> None:
    with pytest.raises(PreflightError, match="mini_batch_size"):
        planned({"training.hyperparameters.mini_batch_size": 64})
