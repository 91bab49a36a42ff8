"""A small ordeal: two runs, and a few strikes at random moments. `make chaos` is the large one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.chaos.deployment import Deployment, deployed
from tests.end_to_end.chaos.ordeal import Ordeal, Outcome, conf_of_a_run
from tests.end_to_end.chaos.strikes import Killer

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

SEED = 12
RUNS = 2
STRIKES = 3
MEAN_SECONDS = 8.0
MOST_SECONDS = 420.0


@pytest.fixture(scope="module")
def deployment(module_path: Path, migrated_database: Path) -> Iterator[Deployment]:
    with deployed(module_path, migrated_database, job_seconds=0.5) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def outcome(deployment: Deployment) -> Outcome:
    killer = Killer(deployment.airflow, SEED, MEAN_SECONDS, most=STRIKES)
    conf = conf_of_a_run(deployment.version)
    ordeal = Ordeal(deployment.airflow, deployment.operator, deployment.world, conf, killer, print)
    return ordeal.undergo(RUNS, MOST_SECONDS)


def test_whatever_is_killed_every_job_is_created_once_and_none_is_left_running(outcome: Outcome) -> None:
    assert outcome.faults() == []


def test_a_few_strikes_are_survived_by_every_run(outcome: Outcome) -> None:
    assert outcome.strikes.total() == STRIKES
    assert [ended.run.state for ended in outcome.runs] == ["success"] * RUNS, [run.reasons for run in outcome.runs]
