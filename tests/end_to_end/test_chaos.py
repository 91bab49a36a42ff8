"""A small ordeal: two runs, and a few strikes at random moments. `make chaos` is the large one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.chaos.installation import Installation, installed
from tests.end_to_end.chaos.ordeal import Ordeal, Outcome
from tests.end_to_end.chaos.strikes import Killer

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

SEED = 12
RUNS = 2
STRIKES = 3
MEAN_SECONDS = 8.0
MOST_SECONDS = 420.0


@pytest.fixture(scope="module")
def installation(module_path: Path, migrated_database: Path) -> Iterator[Installation]:
    with installed(module_path, migrated_database, runs=RUNS, job_seconds=0.5, retries_at_once=True) as installation:
        yield installation


@pytest.fixture(scope="module")
def outcome(installation: Installation) -> Outcome:
    killer = Killer(installation.airflow, SEED, MEAN_SECONDS, most=STRIKES)
    ordeal = Ordeal(installation.airflow, installation.operator, installation.world, installation.trial, killer, print)
    return ordeal.undergo(MOST_SECONDS)


def test_whatever_is_killed_every_job_is_created_once_and_none_is_left_running(outcome: Outcome) -> None:
    assert outcome.faults() == []


def test_a_few_strikes_are_survived_by_every_run(outcome: Outcome) -> None:
    assert outcome.strikes.total() == STRIKES
    assert [ended.run.state for ended in outcome.runs] == ["success"] * RUNS, [run.reasons for run in outcome.runs]
