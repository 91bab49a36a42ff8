"""Whole retrainings whose tasks are killed at their calls of AWS, on the local AWS with a quick container.

A task that is killed loses all that it has not written down, and begins anew, as Airflow's next try does.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from image_classification.context import AwsAccess
from include.promotion.champion import PROMOTED_TAG
from include.sagemaker.naming import tags_of
from tests.support.dag_test_runs import Run, Test, runner
from tests.support.killed import KilledError
from tests.support.world import DIGITS, SMALL, World, digits, running_world

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("airflow_database")]

CLASSIFIER = Path(__file__).parents[1] / "support" / "scripted_classifier.py"
SEEDS = int(os.environ.get("KILLED_RETRAININGS", "1"))
"""So many retrainings, each with a seed of its own: few in `make test`, as each takes ten seconds."""
KILLS_OF_A_TASK = 2
CONF = {
    **SMALL,
    "dataset.packing.shard_images": 200,
    "training.hyperparameters.mini_batch_size": 4,
    "incremental.enabled": False,
    "incremental.hyperparameters": {"epochs": 1},
    "endpoint.instance_type": "ml.c5.large",
}
PAID = ("CreateTrainingJob", "CreateTransformJob", "CreateModelPackage", "CreateEndpoint", "UpdateEndpoint")
"""What costs money, or changes what serves."""


@dataclass
class Killer:
    """Kills each task up to twice, each time at one of its calls of AWS; it counts what AWS was asked for.

    Without a seed it kills nothing.
    """

    dice: random.Random | None = None
    asked: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    _calls_left: int | None = None

    def begin(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.asked.clear()
        self.killed.clear()

    def next_try(self, task: str) -> None:
        """Choose at which of its calls the task is killed, if at any."""
        strikes = self.dice is not None and self.killed[task] < KILLS_OF_A_TASK and self.dice.random() < 0.6
        self._calls_left = self.dice.choice((1, 2, 3, 4, 6, 9, 14)) if strikes and self.dice else None

    def after_call(self, model: Any, http_response: Any, **_: Any) -> None:
        if http_response.status_code < 300:
            self.asked[model.name] += 1
        if self._calls_left is not None:
            self._calls_left -= 1
            if self._calls_left == 0:
                raise KilledError(model.name)


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    """Strikes in every task that `DAG.test` runs. A task that was killed begins anew at once, not where it waited."""
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415  (the home comes first)

    killer = Killer()
    execute_task, new_client = task_runner._execute_task, AwsAccess._new_client

    def tried_again(context: Any, ti: Any, log: Any) -> Any:
        while True:
            killer.next_try(ti.task_id)
            try:
                return execute_task(context=context, ti=ti, log=log)
            except KilledError:
                killer.killed[ti.task_id] += 1
                ti._ti_context_from_server.next_method = None
            finally:
                killer._calls_left = None

    def mortal(access: AwsAccess, *arguments: Any) -> Any:
        client = new_client(access, *arguments)
        client.meta.events.register("after-call", killer.after_call)
        return client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_runner, "_execute_task", tried_again)
        patch.setattr(AwsAccess, "_new_client", mortal)
        yield killer


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    image = f"image-classification={sys.executable} {CLASSIFIER}"
    with (
        pytest.MonkeyPatch.context() as patch,
        running_world(module_path / "aws", "--jobs", "4", "--image", image) as world,
    ):
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.drop(digits(*DIGITS, count=12))
        yield world


@pytest.fixture(scope="module")
def run_dag(airflow_database: None, world: World, killer: Killer) -> Test:
    run = runner()
    assert run("image_classification", CONF).state == "success"
    return run


def documents(world: World) -> dict[str, set[str]]:
    """What there is of each kind, by name."""
    versions = world.keys(world.settings.data_bucket, "datasets/digits/")
    packages = world.sagemaker.list_model_packages(ModelPackageGroupName="image-classification-digits")
    transforms = world.sagemaker.list_transform_jobs()["TransformJobSummaries"]
    return {
        "versions": {key for key in versions if key.endswith("/dataset.json")},
        "jobs": set(world.training_jobs()),
        "transforms": {job["TransformJobName"] for job in transforms},
        "registered": {each["ModelPackageArn"] for each in packages["ModelPackageSummaryList"]},
    }


def turns(world: World) -> list[str]:
    """The run that has the turn, or had it last; none if nothing was retrained yet."""
    bucket = world.settings.data_bucket
    keys = world.keys(bucket, "datasets/digits/turn.json")
    return [world.document(f"s3://{bucket}/{key}")["run_id"] for key in keys]


def serves(world: World) -> str:
    endpoint = world.sagemaker.describe_endpoint(EndpointName="digits")
    assert endpoint["EndpointStatus"] == "InService"
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = world.sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    return str(model["PrimaryContainer"]["ModelDataUrl"])


def promoted(world: World) -> str | None:
    group = world.sagemaker.describe_model_package_group(ModelPackageGroupName="image-classification-digits")
    return tags_of(world.sagemaker, group["ModelPackageGroupArn"]).get(PROMOTED_TAG)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_retraining_whose_tasks_are_killed_does_and_pays_for_everything_once(
    seed: int, run_dag: Test, world: World, killer: Killer
) -> None:
    world.drop(digits(*DIGITS, first=12 + 4 * seed, count=4))
    before, turn_before = documents(world), turns(world)
    killer.begin(seed)

    run: Run = run_dag("retrain_on_new_images", {"dataset.name": "digits"})

    assert run.state == "success", run.tasks
    made = {kind: names - before[kind] for kind, names in documents(world).items()}
    assert {kind: len(names) for kind, names in made.items()} == {
        "versions": 1,
        "jobs": 1,
        "transforms": 2,
        "registered": 1,
    }
    asked_of = {world.sagemaker.describe_transform_job(TransformJobName=job)["ModelName"] for job in made["transforms"]}
    assert len(asked_of) == 2, "one transform job for the challenger, one for the champion"
    assert {name: killer.asked[name] for name in PAID} == {
        "CreateTrainingJob": 1,
        "CreateTransformJob": 2,
        "CreateModelPackage": 1,
        "CreateEndpoint": 0,
        "UpdateEndpoint": 1,
    }
    assert made["registered"] == {run.registered["arn"], promoted(world)}
    assert serves(world) == run.registered["artifact"]
    assert turns(world) not in ([], turn_before)
    assert killer.killed.total() >= 4
