"""What the project sends of a script beside what the SDK v2's PyTorch estimator and tuner send of the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.training.job_requests import training_request, tuning_request
from tests.support.documents import dataset_version, settings
from tests.support.sdk import SDK_V2, run_script

CONF = {
    "training.algorithm": {
        "kind": "script",
        "framework_version": "2.6",
        "source": "s3://models-of-acme/code/0a1b2c3d/sourcedir.tar.gz",
        "hyperparameters": {"network": "resnet34", "batch_size": 32, "lr": 0.01, "flip": False},
        "metric_definitions": {"validation:accuracy": "Validation-accuracy=([0-9.]+)"},
    },
    "resources.instance_type": "ml.g5.xlarge",
}
SEARCH = {
    "training.mode": "tune",
    "tuning.max_jobs": 2,
    "tuning.max_parallel_jobs": 1,
    "tuning.ranges": {
        "lr": {"min": 0.001, "max": 0.003},
        "batch_size": {"min": 32, "max": 128},
        "network": ["resnet18", "resnet34"],
    },
}
OF_THE_SDK = ("sagemaker_estimator_class_name", "sagemaker_estimator_module")
"""By these an SDK finds its own class again; no container reads them."""


@pytest.fixture(scope="module")
def of_sdk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("script")
    run_script(SDK_V2, Path(__file__).with_name("script_of_sdk_v2.py"), home / "result.json", home=home)
    found: dict[str, Any] = json.loads((home / "result.json").read_text())
    return found


def ours(make: Any, conf: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    algorithm = algorithm_of(RunConf.from_conf({**CONF, **conf}), settings(**changed))
    body: dict[str, Any] = make("the-job", algorithm=algorithm, dataset=dataset_version(), run=Run("d", "r"))
    return body


def channel(request: Mapping[str, Any], name: str) -> Any:
    return next(each["DataSource"] for each in request["InputDataConfig"] if each["ChannelName"] == name)


@pytest.mark.parametrize(("use", "isolated"), [("trained", False), ("isolated", True)])
def test_a_training_job_is_the_estimators(of_sdk: Mapping[str, Any], use: str, isolated: bool) -> None:
    theirs, sent = of_sdk[use], ours(training_request, {}, network_isolation=isolated)

    assert sent["HyperParameters"] == theirs["HyperParameters"]
    assert {**sent["AlgorithmSpecification"], "EnableSageMakerMetricsTimeSeries": True} == {
        **theirs["AlgorithmSpecification"]
    }, "the project reads metrics where AWS keeps them without that"
    assert sent["ResourceConfig"] == theirs["ResourceConfig"]
    assert sent["OutputDataConfig"] == theirs["OutputDataConfig"]
    assert sent["StoppingCondition"] == theirs["StoppingCondition"]
    assert sent["EnableNetworkIsolation"] == theirs.get("EnableNetworkIsolation", False)
    if isolated:
        assert channel(sent, "code") == channel(theirs, "code")


def test_a_tuning_job_is_the_tuners(of_sdk: Mapping[str, Any]) -> None:
    theirs, sent = of_sdk["tuned"], ours(tuning_request, SEARCH)

    ranges = "ParameterRanges"
    assert sent["HyperParameterTuningJobConfig"][ranges] == theirs["HyperParameterTuningJobConfig"][ranges]
    assert sent["HyperParameterTuningJobConfig"] == theirs["HyperParameterTuningJobConfig"]
    mine, its = sent["TrainingJobDefinition"], theirs["TrainingJobDefinition"]
    static = {name: value for name, value in its["StaticHyperParameters"].items() if name not in OF_THE_SDK}
    assert mine["StaticHyperParameters"] == static
    assert mine["AlgorithmSpecification"] == its["AlgorithmSpecification"]
