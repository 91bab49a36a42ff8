"""What is deployed, and what is not."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.stages.deployment import approved_deployment, tear_down
from tests.support.documents import deployment_inputs, settings
from tests.support.running_task import running_task


def test_an_approved_model_is_deployed_to_the_endpoint_called_as_the_dataset() -> None:
    assert approved_deployment(running_task(settings()), deployment_inputs({})).endpoint_name == "pets"


def test_a_model_below_the_minimum_is_not_deployed() -> None:
    with pytest.raises(AirflowSkipException, match="PendingManualApproval"):
        approved_deployment(running_task(settings()), deployment_inputs({}, "PendingManualApproval"))


def test_a_run_may_end_with_the_registered_model() -> None:
    with pytest.raises(AirflowSkipException, match=r"endpoint\.deploy is off"):
        approved_deployment(running_task(settings()), deployment_inputs({"endpoint.deploy": False}))


def test_a_run_that_came_to_no_deployment_takes_nothing_down() -> None:
    with pytest.raises(AirflowSkipException, match="deployed nothing"):
        tear_down.function(None, None, None)
