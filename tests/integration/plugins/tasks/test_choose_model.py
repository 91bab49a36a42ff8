"""What is refused before anything is deployed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from image_classification.tasks import choose_model
from include.deployment.registry import NoModelError
from include.preflight import PreflightError
from include.problems import ProblemsError
from include.run_conf import RunConf
from include.settings import Settings
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS, run_as_task
from tests.support.served_models import IMAGE, deployed, registered


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


@pytest.fixture
def settings() -> Settings:
    return Settings.from_variable({**SETTINGS, "image_uri": IMAGE})


def test_a_rollback_goes_to_the_endpoint_of_the_dataset_and_leaves_its_machines(
    aws: RunningLocalAws, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (registered(aws, settings, "pets-to-roll-back") for _ in range(2))
    live = {"endpoint.name": "pets-live", "endpoint.instance_type": "ml.c5.large", "endpoint.instance_count": 2}
    deployed(aws, settings, second, **live)
    back = {"dataset.name": first.dataset, "model_version": 1}

    chosen = choose({**back, "endpoint.name": None, "endpoint.instance_type": ""}, monkeypatch)
    larger = choose({**back, "endpoint.instance_type": "ml.c5.xlarge"}, monkeypatch)
    elsewhere = choose({**back, "endpoint.name": "pets-trial", "endpoint.keep": False}, monkeypatch)

    assert chosen["model"]["arn"] == first.arn
    kept = {"name": "pets-live", "instance_type": "ml.c5.large", "instance_count": 2, "keep": True, "deploy": True}
    assert chosen["conf"]["endpoint"].items() >= kept.items()
    assert larger["conf"]["endpoint"].items() >= {**kept, "instance_type": "ml.c5.xlarge"}.items()
    assert elsewhere["conf"]["endpoint"].items() >= {**kept, "name": "pets-trial", "keep": False}.items()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"endpoint.instance_type": "ml.none.large"},
            r"endpoint\.instance_type = ml\.none\.large: ",
        ),
        ({"endpoint.serverless.memory_mb": 1024}, "has machines and cannot become serverless"),
        ({"endpoint.keep": False}, r"endpoint\.keep = False: endpoint .* is to be kept"),
    ],
)
def test_what_the_endpoint_cannot_become_is_refused_before_anything_is_deployed(
    aws: RunningLocalAws,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    message: str,
) -> None:
    dataset = f"pets-{uuid4().hex[:8]}"
    deployed(aws, settings, registered(aws, settings, dataset))

    with pytest.raises(PreflightError, match=message):
        choose({"dataset.name": dataset, **asked}, monkeypatch)


def test_a_model_is_deployed_again_where_somebody_elses_model_has_taken_its_place(
    aws: RunningLocalAws, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pets, birds = (registered(aws, settings, dataset) for dataset in ("pets-replaced", "birds-instead"))
    for version in (pets, birds):
        deployed(aws, settings, version, **{"endpoint.name": "shared"})

    chosen = choose({"dataset.name": "pets-replaced"}, monkeypatch)

    assert chosen["conf"]["endpoint"]["name"] == "shared"
    assert "Endpoint shared serves image-classification-birds-instead version 1" in caplog.text


def test_a_dataset_that_nothing_serves_is_deployed_to_an_endpoint_of_its_name(
    aws: RunningLocalAws, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(aws, settings, "pets-not-served")

    chosen = choose({"dataset.name": "pets-not-served"}, monkeypatch)

    assert RunConf.from_conf(chosen["conf"]).endpoint_name == "pets-not-served"
