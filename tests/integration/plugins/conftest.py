from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)
from tests.support.local_aws import RunningLocalAws, scripted_local_aws
from tests.support.running_task import SETTINGS


@pytest.fixture(scope="session")
def running_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    """A local AWS of this test process, with the few-line containers `toy` and `scripted`."""
    with scripted_local_aws(tmp_path_factory.mktemp("local_aws"), jobs=4) as running:
        yield running


@pytest.fixture
def aws(running_aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> RunningLocalAws:
    """The local AWS, with Airflow set up to reach it as an installation would."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", running_aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(SETTINGS))
    return running_aws


@pytest.fixture
def sagemaker(aws: RunningLocalAws) -> Any:
    return aws.client("sagemaker")
