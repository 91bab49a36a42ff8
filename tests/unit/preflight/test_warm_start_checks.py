from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from include.algorithms.kinds import algorithm_of
from include.preflight.questions import Findings
from include.preflight.warm_start_checks import warm_start_findings
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.training.job_requests import tuning_request
from tests.support.documents import dataset_version, settings

CONF = {
    "training.mode": "tune",
    "training.hyperparameters.mini_batch_size": 16,
    "tuning.ranges": {"learning_rate": {"min": 0.001, "max": 0.1}, "optimizer": ["sgd", "adam"]},
}
FROM = {"tuning.warm_start.from": "earlier"}


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
