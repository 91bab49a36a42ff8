"""A local AWS, a dataset version and an Airflow to torment: the algorithm is a stand-in that trains for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from include.datasets.packing.shard import pack_shard
from include.datasets.planning.plan import plan_version
from include.datasets.publishing.publish import publish_version
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from tests.end_to_end.chaos.ledger import DAG_ID
from tests.end_to_end.chaos.ordeal import THRESHOLDS
from tests.support.gated_algorithm import OPEN_AFTER
from tests.support.live_airflow import LiveAirflow, Operator
from tests.support.world import SMALL, World, digits, gated_image, running_world

DAG_SECONDS = 120.0


@dataclass(frozen=True)
class Installation:
    """Everything that runs."""

    world: World
    version: DatasetVersion
    airflow: LiveAirflow
    operator: Operator


@contextmanager
def installed(
    state: Path, database: Path, *, jobs_at_once: int = 8, job_seconds: float = 2.0, retries_at_once: bool = False
) -> Iterator[Installation]:
    """Start it all, with every job training for `job_seconds`, and end it at the end.

    Tasks are tried again after their own pauses, of 20 s and longer, or at once.
    """
    gates = state / "gates"
    gates.mkdir()
    (gates / OPEN_AFTER).write_text(str(job_seconds))
    with running_world(state / "aws", "--jobs", str(jobs_at_once), "--image", gated_image(gates)) as world:
        version = publish_small_version(world)
        airflow = LiveAirflow(state, world, database, retries_at_once=retries_at_once, **THRESHOLDS)
        try:
            airflow.start()
            operator = airflow.operator()
            with operator:
                operator.wait_for_dag(DAG_ID, DAG_SECONDS)
                operator.unpause(DAG_ID)
                yield Installation(world, version, airflow, operator)
        finally:
            airflow.end()


def publish_small_version(world: World) -> DatasetVersion:
    """Publish a dataset version of thirty digits, without Airflow."""
    world.drop(digits("0", "1", count=15))
    bucket, conf = world.settings.data_bucket, RunConf.from_conf(SMALL).dataset
    plan = plan_version(world.s3, conf, data_bucket=bucket, run_id="by hand", run_after=datetime.now(UTC))
    return publish_version(world.s3, plan, [pack_shard(world.s3, plan, shard) for shard in plan.shards])
