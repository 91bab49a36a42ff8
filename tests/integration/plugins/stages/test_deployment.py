"""Endpoints that are taken down after their run, or stay."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from image_classification.stages.deployment import tear_down
from tests.support.documents import deployment_inputs
from tests.support.local_aws import RunningLocalAws
from tests.support.running_task import run_as_task


@pytest.fixture(autouse=True)
def in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    run_as_task(monkeypatch)


@pytest.mark.parametrize(
    ("conf", "approval", "reason"),
    [
        ({"endpoint.keep": True}, "Approved", "endpoint.keep is on"),
        ({"endpoint.keep": False, "endpoint.deploy": False}, "Approved", "endpoint.deploy is off"),
        ({"endpoint.keep": False}, "PendingManualApproval", "version 1 is PendingManualApproval"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_endpoint_stays_where_it_is_to_be_kept_or_was_not_deployed(
    conf: dict[str, Any], approval: str, reason: str
) -> None:
    with pytest.raises(AirflowSkipException, match=reason):
        tear_down.function(**deployment_inputs(conf, approval))


def test_taking_down_what_is_gone_already_is_no_error(aws: RunningLocalAws) -> None:
    inputs = deployment_inputs({"endpoint.keep": False, "endpoint.name": "never-there"})

    assert tear_down.function(**inputs) == []
