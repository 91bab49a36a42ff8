"""What is refused before anything is deployed."""

from __future__ import annotations

from typing import Any

import pytest

from image_classification.tasks import choose_model
from include.deployment.registry import NoModelError
from include.preflight import PreflightError
from include.problems import ProblemsError
from tests.support.local_aws import BUCKET
from tests.support.running_task import run_as_task


def choose(conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    run_as_task(monkeypatch, conf)
    return choose_model.choose_model.function()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("version", [None, 3])
def test_a_dataset_that_never_had_a_model_has_none_to_deploy(
    version: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoModelError, match=r"no approved model|no version 3"):
        choose({"dataset.name": "never-trained", "model_version": version}, monkeypatch)


@pytest.mark.usefixtures("aws")
def test_a_deployment_that_is_not_to_deploy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProblemsError, match=r"endpoint\.deploy = False: this DAG only deploys"):
        choose({"endpoint": {"deploy": False}}, monkeypatch)


@pytest.mark.usefixtures("aws")
def test_everything_that_is_wrong_with_a_prediction_comes_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    run_as_task(
        monkeypatch,
        {
            "dataset": {"name": "never-trained"},
            "source": f"s3://{BUCKET}/no-images/",
            "top_k": 0,
            "endpoint.instance_type": "ml.t2.medium",
            "endpoint.kepp": True,
        },
    )

    with pytest.raises(PreflightError) as refused:
        choose_model.choose_predicting_model.function()

    assert {problem.field for problem in refused.value.problems} == {
        "dataset.name",
        "source",
        "top_k",
        "endpoint.instance_type",
        "endpoint.kepp",
    }
