"""What undergoes the ordeal: runs of one DAG, and the jobs that each of them intends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from include.deployment.registry import RegisteredModel
from include.run_conf import RunConf
from include.sagemaker.naming import LONGEST_TUNING_NAME
from tests.end_to_end.chaos.ledger import TUNED_JOBS, IntendedJob
from tests.support.champions import promote, publish, register
from tests.support.live_airflow import conf_of
from tests.support.world import SMALL, World, digits

TRAIN, RETRAIN = "train_model", "retrain_on_new_images"
LABELS = ("0", "1")
IMAGES, NEW_IMAGES = 15, 4
"""Of each class: those that the champions have learned from, and those that come after."""
CANARY = {
    "endpoint.instance_type": "ml.c5.large",
    "endpoint.rollout.kind": "canary",
    "endpoint.rollout.size_percent": 50,
    "endpoint.rollout.wait_seconds": 3,
}


@dataclass(frozen=True)
class Trial:
    """Runs by their ids, with the conf of each.

    Those in `asked` wait for a person. `champions` are the versions that serve before, by the run that is to replace
    them; a DAG that deploys nothing has none.
    """

    dag_id: str
    confs: Mapping[str, dict[str, Any]]
    intended: tuple[IntendedJob, ...]
    asked: frozenset[str] = frozenset()
    champions: Mapping[str, RegisteredModel] = field(default_factory=dict)


def trial_of(dag_id: str, world: World, runs: int) -> Trial:
    """So many runs of one of the two DAGs, with all that they need in S3, in the registry and at endpoints."""
    run_ids = [f"run-{number:02}" for number in range(1, runs + 1)]
    world.drop(digits(*LABELS, count=IMAGES))
    return _trainings(world, run_ids) if dag_id == TRAIN else _retrainings(world, run_ids)


def _trainings(world: World, run_ids: list[str]) -> Trial:
    """Each run trains, tunes, trains the best model further, and lets it and the champion answer the test images."""
    conf = conf_of(
        publish(world, RunConf.from_conf(SMALL)),
        training__mode="both",
        tuning__strategy="Random",
        tuning__max_jobs=TUNED_JOBS,
        tuning__max_parallel_jobs=TUNED_JOBS,
        incremental__enabled=True,
    )
    intended = (
        IntendedJob(TRAIN, "training.train", map_index=0),
        IntendedJob(TRAIN, "training.tune", longest=LONGEST_TUNING_NAME),
        IntendedJob(TRAIN, "training.train_incremental"),
        IntendedJob(TRAIN, "evaluation.transform_test_images"),
        IntendedJob(TRAIN, "evaluation.transform_by_champion"),
    )
    return Trial(TRAIN, dict.fromkeys(run_ids, conf), intended)


def _retrainings(world: World, run_ids: list[str]) -> Trial:
    """Each run grows a dataset of its own and replaces the champion at its endpoint; every other one asks a person."""
    bucket = world.settings.data_bucket
    champions = {}
    for run_id in run_ids:
        chosen = {"dataset.name": _dataset(run_id), "training.hyperparameters.mini_batch_size": 4}
        conf = RunConf.from_conf({**SMALL, **CANARY, **chosen})
        champions[run_id] = register(world, conf)
        promote(world, conf, champions[run_id])
    # The runs are started by their ids: a look that S3's message starts would take their turns.
    world.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    world.drop(digits(*LABELS, first=IMAGES, count=NEW_IMAGES))
    intended = (
        IntendedJob(RETRAIN, "training.train_incremental"),
        IntendedJob(RETRAIN, "evaluation.transform_test_images"),
        IntendedJob(RETRAIN, "evaluation.transform_by_champion"),
    )
    asked = frozenset(run_ids[::2])
    person = {"promotion.approval": "person"}
    confs = {run_id: {"dataset.name": _dataset(run_id), **(person if run_id in asked else {})} for run_id in run_ids}
    return Trial(RETRAIN, confs, intended, asked, champions)


def _dataset(run_id: str) -> str:
    return f"digits-{run_id}"
