from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from include.deployment.hosting import Hosting
from tests.support.local_aws import RunningLocalAws, scripted_local_aws


@dataclass
class KnownRuns:
    """An Airflow as far as a clean-up asks it: states by DAG and run, and which runs are over."""

    states: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)
    over: set[tuple[str, str]] = field(default_factory=set)

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str | None] | None:
        return self.states.get((dag_id, run_id))

    def run_is_over(self, dag_id: str, run_id: str) -> bool | None:
        return (dag_id, run_id) in self.over if (dag_id, run_id) in self.states else None


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    with scripted_local_aws(tmp_path_factory.mktemp("local_aws"), jobs=8) as running:
        yield running


@pytest.fixture
def sagemaker(aws: RunningLocalAws) -> Any:
    return aws.client("sagemaker")


@pytest.fixture
def hosting(aws: RunningLocalAws) -> Hosting:
    return Hosting.of(aws.client)


@pytest.fixture
def s3(aws: RunningLocalAws) -> Any:
    return aws.client("s3")
