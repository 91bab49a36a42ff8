from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.algorithms.kinds import algorithm_of
from include.preflight import WHOLE_CHAIN, Findings
from include.preflight.conf_checks import ignored_notes, request_problems, violations, warm_start_findings
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.training.job_requests import tuning_request
from tests.support.documents import dataset_version, settings

RMSPROP = {"name": "b", "hyperparameters": {"optimizer": "rmsprop"}}
OPTIMIZER, BETA, MOMENTUM = (f"training.hyperparameters.{name}" for name in ("optimizer", "beta_1", "momentum"))
TUNE = {"training.mode": "tune"}
CONF = {
    "training.mode": "tune",
    "training.hyperparameters.mini_batch_size": 16,
    "tuning.ranges": {"learning_rate": {"min": 0.001, "max": 0.1}, "optimizer": ["sgd", "adam"]},
}
FROM = {"tuning.warm_start.from": "earlier"}


@pytest.mark.parametrize(
    ("conf", "notes"),
    [
        ({}, []),
        ({MOMENTUM: 0.8}, []),
        (
            {MOMENTUM: 0.8, OPTIMIZER: "adam"},
            ["training.hyperparameters.momentum = 0.8 has no effect: it is for sgd and nag, the optimizer is adam"],
        ),
        ({BETA: 0.8}, ["training.hyperparameters.beta_1 = 0.8 has no effect: it is for adam, the optimizer is sgd"]),
        (
            {
                MOMENTUM: 0.8,
                "training.trials": [{"name": "a"}, RMSPROP],
            },
            [
                "training.trials.1.hyperparameters.momentum = 0.8 has no effect: it is for sgd and nag, the optimizer "
                "is rmsprop"
            ],
        ),
        (
            {**TUNE, "tuning.ranges": {"beta_1": {"min": 0.5, "max": 0.9}}},
            ["tuning.ranges.beta_1 is searched without effect: it is for adam, the optimizer is sgd"],
        ),
        ({**TUNE, "tuning.ranges": {"beta_1": {"min": 0.5, "max": 0.9}, "optimizer": ["sgd", "adam"]}}, []),
        (
            {**TUNE, "tuning.ranges": {"gamma": {"min": 0.5, "max": 0.9}, "optimizer": ["sgd", "adam"]}},
            ["tuning.ranges.gamma is searched without effect: it is for rmsprop, the optimizer is sgd or adam"],
        ),
        (
            {"incremental.hyperparameters.eps": 1e-6},
            ["incremental.hyperparameters.eps = 1e-06 has no effect: it is for adam and rmsprop, the optimizer is sgd"],
        ),
        ({"incremental.hyperparameters.eps": 1e-6, "incremental.enabled": False}, []),
    ],
)
def test_what_the_optimizer_does_not_read_is_said(conf: dict[str, Any], notes: list[str]) -> None:
    assert list(ignored_notes(RunConf.from_conf(conf))) == notes


def test_what_debugger_cannot_do_is_said() -> None:
    def about(**debugger: Any) -> list[str]:
        conf = {"training.mode": "both", "training.debugger": debugger}
        return [note.partition(":")[0] for note in ignored_notes(RunConf.from_conf(conf))]

    closed = "training.debugger is for accounts that used Debugger before"
    tunes = "the jobs of a tuning job cannot have Debugger"
    ends = "AWS ends the profiler of Debugger on 2027-06-30"

    assert about() == []
    assert about(rules={"ProfilerReport": {}}) == [closed, tunes, ends]
    assert about(rules={"Overfit": {}}, profiler={"enabled": False}) == [
        closed,
        "the built-in algorithm emits no tensors",
        tunes,
    ]
    (framework,) = set(about(profiler={"num_steps": 10})) - {closed, tunes, ends}
    assert framework.startswith("training.debugger.profiler.num_steps profiles the framework, which PyTorch 2.0")


EVERYTHING = {
    "training.mode": "both",
    "training.trials": [{"name": "a"}, {"name": "b", "hyperparameters": {"epochs": 2}}],
    "resources.spot": True,
}


def told(conf: dict[str, Any], **installation: Any) -> list[str]:
    problems = request_problems(RunConf.from_conf(conf), settings(**installation), WHOLE_CHAIN)
    return sorted({str(problem) for problem in problems})


def test_the_requests_of_a_default_run_and_of_a_full_one_are_within_the_api_s_limits() -> None:
    assert told({}) == []
    assert told(EVERYTHING, subnets=["subnet-1"], security_group_ids=["sg-1"], kms_key_id="alias/key") == []


@pytest.mark.parametrize(
    ("installation", "message"),
    [
        ({"kms_key_id": "my key"}, "settings.kms_key_id = my key: must match [a-zA-Z0-9:/_-]*"),
        ({"tags": {"a" * 129: "x"}}, "settings.tags = "),
        ({"tags": {str(n): "x" for n in range(60)}}, "settings.tags = "),
        ({"subnets": ["subnet 1"], "security_group_ids": ["sg-1"]}, "settings.subnets = subnet 1: must match"),
        ({"image_uri": "a" * 300}, "settings.image_uri = "),
    ],
)
def test_a_setting_that_the_api_would_refuse_is_told_by_its_name(installation: dict[str, Any], message: str) -> None:
    (problem,) = [line for line in told({}, **installation) if "CreateTrainingJob" in line]
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("debugger", "field"),
    [
        ({"rules": {"Overfit": {"tensor_regex": "x" * 300}}}, "training.debugger.rules"),
        ({"hook": {"train.save_interval": "1" * 300}}, "training.debugger.hook"),
        ({"hook": {f"parameter {n}": 1 for n in range(21)}}, "training.debugger.hook"),
        ({"collections": {f"tensors {n}": {} for n in range(21)}}, "training.debugger.collections"),
    ],
)
def test_settings_of_debugger_that_the_api_would_refuse_are_told_by_their_name(
    debugger: dict[str, Any], field: str
) -> None:
    (problem,) = told({"training.debugger": debugger})
    assert problem.startswith(f"{field} = ")


def test_patterns_lengths_ranges_choices_and_absences_of_the_model_are_told() -> None:
    request = {
        "TrainingJobName": "two words",
        "ResourceConfig": {"InstanceType": "ml.none", "KeepAlivePeriodInSeconds": 30_000, "Surprise": 1},
        "HyperParameters": {f"{n}": "x" for n in range(101)},
        "Tags": [{"Key": "ö ü", "Value": "größe"}],
    }
    found = {violation.path: violation.rule for violation in violations("sagemaker", "CreateTrainingJob", request)}
    assert found["TrainingJobName"].startswith("must match")
    assert found["ResourceConfig.InstanceType"].startswith("must be one of ml.")
    assert found["ResourceConfig.KeepAlivePeriodInSeconds"] == "may be at most 21600"
    assert found["ResourceConfig.Surprise"] == "is unknown to the API"
    assert found["HyperParameters"] == "may have at most 100 entries and has 101"
    assert found["RoleArn"] == "is missing"
    assert not any(path.startswith("Tags") for path in found)


@pytest.mark.parametrize(
    ("conf", "notes"),
    [
        ({"promotion.margin": 0.05, "promotion.compare": "better"}, []),
        (
            {"promotion.margin": 0.05, "promotion.compare": "off"},
            ["promotion.margin = 0.05 has no effect: promotion.compare is off"],
        ),
        ({"promotion.approval_hours": 2, "promotion.approval": "person"}, []),
        (
            {"promotion.approval_hours": 2},
            ["promotion.approval_hours = 2 has no effect: promotion.approval is automatic"],
        ),
    ],
)
def test_what_the_gate_does_not_use_is_said(conf: dict[str, Any], notes: list[str]) -> None:
    assert list(ignored_notes(RunConf.from_conf(conf))) == notes


class SageMaker:
    """SageMaker with one tuning job, which was started with `conf`."""

    def __init__(self, conf: dict[str, Any] | None = None, **changes: Any) -> None:
        request = tuning_request(
            "earlier",
            algorithm=algorithm_of(RunConf.from_conf({**CONF, **(conf or {})}), settings()),
            dataset=dataset_version(),
            run=Run("train_model", "manual__1"),
        )
        self.described = {**request, "HyperParameterTuningJobStatus": "Completed", **changes}

    def describe_hyper_parameter_tuning_job(self, **asked: str) -> dict[str, Any]:
        if asked["HyperParameterTuningJobName"] != "earlier":
            raise ClientError({"Error": {"Code": "ResourceNotFound"}}, "DescribeHyperParameterTuningJob")
        return self.described


def found(sagemaker: Any, conf: dict[str, Any] | None = None, **dataset: Any) -> Findings:
    whole = RunConf.from_conf({**CONF, **FROM, **(conf or {})})
    return warm_start_findings(sagemaker, whole, settings(), dataset=dataset_version(**dataset))


def test_a_finished_search_of_the_same_kind_passes() -> None:
    assert found(SageMaker()) == Findings()
    assert found(SageMaker(), {"tuning.warm_start.from": "latest"}) == Findings()
    identical = {"tuning.warm_start.type": "IdenticalDataAndAlgorithm"}
    assert found(SageMaker(), identical) == Findings()


@pytest.mark.parametrize(
    ("sagemaker", "conf", "remedy"),
    [
        (SageMaker(), {"tuning.warm_start.from": "other"}, "there is no such tuning job in eu-central-1"),
        (SageMaker(HyperParameterTuningJobStatus="InProgress"), {}, "is InProgress: wait until it has ended"),
        (
            SageMaker({"tuning.ranges": {"learning_rate": [0.1, 0.2], "optimizer": ["sgd", "adam"]}}),
            {},
            "has ranges of another kind for learning_rate",
        ),
        (
            SageMaker({"training.hyperparameters.momentum": 0.8}),
            {},
            "(momentum are in only one of them): send the same, tuned or not",
        ),
        (
            SageMaker(),
            {"tuning.warm_start.type": "IdenticalDataAndAlgorithm", "dataset.version": "newer"},
            "used other data, and tuning.warm_start.type is IdenticalDataAndAlgorithm: set it to TransferLearning",
        ),
    ],
)
def test_a_search_that_cannot_be_gone_on_from_is_told(sagemaker: Any, conf: dict[str, Any], remedy: str) -> None:
    other = {"uri": "s3://images-of-acme/datasets/pets/newer/"} if "dataset.version" in conf else {}
    (problem,) = found(sagemaker, conf, **other).problems
    assert problem.field == "tuning.warm_start.from"
    assert remedy in problem.remedy


def test_another_objective_is_told() -> None:
    sagemaker = SageMaker()
    config = sagemaker.described["HyperParameterTuningJobConfig"]
    config["HyperParameterTuningJobObjective"] = {"Type": "Minimize", "MetricName": "loss"}
    (problem,) = found(sagemaker).problems
    assert "aims at Minimize loss, and this run at Maximize validation:accuracy" in problem.remedy


def test_what_a_parent_learned_of_its_own_parents_is_a_note() -> None:
    warm = {"ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "first"}]}
    assert found(SageMaker(WarmStartConfig=warm)).notes == (
        "warm start: earlier also used results of first, which this run does not; name them too to use them",
    )
