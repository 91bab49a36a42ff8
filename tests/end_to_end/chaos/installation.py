"""A local AWS, datasets and an Airflow to torment: the algorithm is a stand-in that trains for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.chaos.ordeal import THRESHOLDS
from tests.end_to_end.chaos.trial import TRAIN, Trial, trial_of
from tests.support.gated_algorithm import OPEN_AFTER
from tests.support.live_airflow import LiveAirflow, Operator
from tests.support.world import World, gated_image, running_world

DAG_SECONDS = 120.0


@dataclass(frozen=True)
class Installation:
    """Everything that runs."""

    world: World
    trial: Trial
    airflow: LiveAirflow
    operator: Operator


@contextmanager
def installed(
    state: Path,
    database: Path,
    *,
    runs: int,
    dag_id: str = TRAIN,
    jobs_at_once: int = 8,
    job_seconds: float = 2.0,
    retries_at_once: bool = False,
) -> Iterator[Installation]:
    """Start it all for so many runs of a DAG, with every job training for `job_seconds`, and end it at the end.

    Tasks are tried again after their own pauses, of 20 s and longer, or at once.
    """
    gates = state / "gates"
    gates.mkdir()
    (gates / OPEN_AFTER).write_text(str(job_seconds))
    with running_world(state / "aws", "--jobs", str(jobs_at_once), "--image", gated_image(gates)) as world:
        trial = trial_of(dag_id, world, runs)
        airflow = LiveAirflow(state, world, database, dags=[dag_id], retries_at_once=retries_at_once, **THRESHOLDS)
        try:
            airflow.start()
            operator = airflow.operator()
            with operator:
                operator.wait_for_dag(dag_id, DAG_SECONDS)
                operator.unpause(dag_id)
                yield Installation(world, trial, airflow, operator)
        finally:
            airflow.end()
