"""A person's decision on a version of the model registry."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from image_classification.tasks import review
from include.deployment.registry import NoModelError, RegisteredModel, read_model
from include.run_conf import RunConfError
from include.settings import Settings
from tests.support.local_aws import RunningLocalAws
from tests.support.running_task import SETTINGS, airflow_context
from tests.support.served_models import IMAGE, deployed, registered


@pytest.fixture
def settings(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> Settings:
    variable = {**SETTINGS, "image_uri": IMAGE}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(variable))
    return Settings.from_variable(variable)


@pytest.fixture
def pets() -> str:
    return f"pets-{uuid4().hex[:8]}"


def decide(monkeypatch: pytest.MonkeyPatch, who: str = "Ada", **conf: Any) -> RegisteredModel:
    context = airflow_context({name.replace("__", "."): value for name, value in conf.items()})
    context["dag_run"].triggering_user_name = who
    monkeypatch.setattr("image_classification.context.get_current_context", lambda: context)
    model = RegisteredModel.model_validate(review.review_model.function())
    assert context["outlet_events"][review.MODEL].extra == model.as_event()
    return model


def test_a_decision_is_kept_with_who_took_it_and_why_and_may_be_changed(
    aws: RunningLocalAws, settings: Settings, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {"dataset__name": pets, "model_version": registered(aws, settings, pets).version}

    rejected = decide(monkeypatch, **named, decision="reject", reason="wrong labels")
    approved = decide(monkeypatch, "", **named, decision="approve", reason="the labels are right after all.")

    assert (rejected.approval, rejected.reason) == ("Rejected", "Rejected by Ada: wrong labels.")
    assert (approved.approval, approved.reason) == (
        "Approved",
        "Approved by a person without a name: the labels are right after all.",
    )
    assert approved == read_model(aws.client("sagemaker"), approved.arn)


def test_a_version_of_other_classes_may_be_approved_and_says_so(
    aws: RunningLocalAws, settings: Settings, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(aws, settings, registered(aws, settings, pets))
    registered(aws, settings, pets, labels=["cat", "dog"])

    model = decide(monkeypatch, dataset__name=pets, model_version=2, decision="approve", reason="no owls any more")

    assert (model.approval, model.reason) == (
        "Approved",
        "Approved by Ada: no owls any more. It has other classes (2) than version 1 (3), the champion: clients of "
        "the endpoint get other answers.",
    )


def test_a_version_that_serves_may_be_rejected_and_serves_on(
    aws: RunningLocalAws,
    settings: Settings,
    pets: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    deployment = deployed(aws, settings, registered(aws, settings, pets))

    model = decide(
        monkeypatch, dataset__name=pets, model_version=1, decision="reject", reason="it sees owls everywhere"
    )

    assert model.approval == "Rejected"
    assert f"Endpoint {pets} still serves it" in caplog.text
    described = aws.client("sagemaker").describe_endpoint(EndpointName=pets)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", deployment.config_name)


@pytest.mark.usefixtures("settings")
def test_everything_that_is_missing_or_wrong_comes_in_one_message(monkeypatch: pytest.MonkeyPatch, pets: str) -> None:
    with pytest.raises(RunConfError) as refused:
        decide(monkeypatch, dataset__name=pets, decision="maybe", resaon="because")

    assert {problem.field for problem in refused.value.problems} == {"model_version", "decision", "reason", "resaon"}


@pytest.mark.usefixtures("settings")
def test_a_version_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, pets: str) -> None:
    with pytest.raises(NoModelError, match=f"image-classification-{pets} has no version 7"):
        decide(monkeypatch, dataset__name=pets, model_version=7, decision="approve", reason="good")
