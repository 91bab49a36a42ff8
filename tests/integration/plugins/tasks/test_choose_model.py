"""What is refused before anything is deployed."""

from __future__ import annotations

from typing import Any

import pytest

from image_classification.tasks import choose_model
from include.deployment.registry import NoModelError
from include.problems import ProblemsError
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
