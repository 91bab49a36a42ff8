"""What the tasks of the clean-up show and refuse, where Airflow has to be asked nothing."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import uuid4

import pytest

from image_classification.tasks import clean_up
from include.clean_up import CleanUpConfError
from include.settings import Settings
from tests.support.local_aws import RunningLocalAws
from tests.support.running_task import SETTINGS, run_as_task
from tests.support.served_models import IMAGE, deployed, registered


@pytest.fixture
def pets(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> str:
    """An endpoint that serves, of an installation that knows the price of its machine."""
    name = f"pets-{uuid4().hex[:8]}"
    setting = {**SETTINGS, "image_uri": IMAGE, "prices": {"ml.m5.large": 0.115}}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(setting))
    settings = Settings.from_variable(setting)
    deployed(aws, settings, registered(aws, settings, name))
    return name


def test_what_runs_is_shown_with_its_price_and_stays(
    pets: str, sagemaker: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_as_task(monkeypatch, dag_id="clean_up")
    with caplog.at_level(logging.INFO, logger=clean_up.__name__):
        shown = {each["name"]: each for each in clean_up.show_what_runs.function()}
    assert (shown[pets]["machine"], shown[pets]["usd_per_hour"]) == ("ml.m5.large", 0.115)
    assert any(line.split()[:3] == ["endpoint", pets, "InService"] for line in caplog.messages)
    assert caplog.messages[-1].startswith("In all ")
    assert sagemaker.describe_endpoint(EndpointName=pets)["EndpointStatus"] == "InService"


def test_an_endpoint_goes_only_if_its_name_was_given_twice(
    pets: str, sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_as_task(monkeypatch, {}, dag_id="clean_up")
    assert clean_up.delete_endpoint.function() == [], "as the schedule runs it"
    run_as_task(monkeypatch, {"delete_endpoint": pets}, dag_id="clean_up")
    with pytest.raises(CleanUpConfError, match="confirm_deletion"):
        clean_up.delete_endpoint.function()
    assert sagemaker.describe_endpoint(EndpointName=pets)["EndpointStatus"] == "InService"

    run_as_task(monkeypatch, {"delete_endpoint": pets, "confirm_deletion": pets}, dag_id="clean_up")
    (outcome,) = clean_up.delete_endpoint.function()

    assert (outcome["name"], outcome["outcome"]) == (pets, "deleted")
