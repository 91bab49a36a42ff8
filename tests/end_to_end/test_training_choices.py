"""What a run trains and which model goes on: trials, tuning and both, through Airflow, with a quick container."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from tests.support.airflow_home import ROOT
from tests.support.world import SMALL, World, digits, running_world

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("airflow_database")]

CLASSIFIER = Path(__file__).parents[1] / "support" / "scripted_classifier.py"
TUNED = {
    "tuning.max_jobs": 3,
    "tuning.max_parallel_jobs": 3,
    "tuning.strategy": "Grid",
    "tuning.ranges": {"learning_rate": [0.0001, 0.01, 0.1]},
}


@dataclass(frozen=True)
class Run:
    """A finished run: states, the trials' names as Airflow shows them, what tasks handed on, the leaderboard."""

    state: str
    tasks: dict[tuple[str, int], str]
    trials: list[str]
    returned: dict[str, Any]
    jobs: list[dict[str, Any]]
    best: str | None

    def states(self, task_id: str) -> list[str]:
        """The states of a task's copies, in their order."""
        return [state for (name, _), state in sorted(self.tasks.items()) if name == task_id]

    def job(self, name: str) -> dict[str, Any]:
        """A job's entry in the leaderboard."""
        return next(job for job in self.jobs if job["job"] == name)


Train = Callable[[dict[str, Any]], Run]


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    image = f"image-classification={sys.executable} {CLASSIFIER}"
    with (
        pytest.MonkeyPatch.context() as patch,
        running_world(module_path / "aws", "--jobs", "4", "--image", image) as world,
    ):
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.drop(digits("0", "1", "7", count=12))
        yield world


def build(world: World, name: str, *labels: str) -> DatasetVersion:
    conf = RunConf.from_conf({**SMALL, "dataset.name": name, "dataset.labels": list(labels)}).dataset
    plan = plan_version(
        world.s3, conf, data_bucket=world.settings.data_bucket, run_id=name, run_after=datetime.now(UTC)
    )
    return publish_version(world.s3, plan, [pack_shard(world.s3, plan, shard) for shard in plan.shards])


@pytest.fixture(scope="module")
def pairs(world: World) -> DatasetVersion:
    return build(world, "pairs", "0", "1")


@pytest.fixture(scope="module")
def triples(world: World) -> DatasetVersion:
    return build(world, "triples", "0", "1", "7")


@pytest.fixture(scope="module")
def train(airflow_database: None, world: World, pairs: DatasetVersion) -> Train:
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415  (the home comes first)

    dag = DagBag(ROOT / "dags" / "train_model.py").dags["train_model"]
    small = {name: value for name, value in SMALL.items() if not name.startswith("dataset.")}

    def train(conf: dict[str, Any]) -> Run:
        given = {**small, "dataset.name": "pairs", "training.hyperparameters.mini_batch_size": 4, **conf}
        dag_run = dag.test(run_conf=given)
        instances = dag_run.get_task_instances()
        returned = {
            instance.task_id: instance.xcom_pull(instance.task_id, map_indexes=instance.map_index)
            for instance in instances
        }
        board = world.document(returned["training.compare_jobs"])
        return Run(
            state=str(dag_run.state),
            tasks={(instance.task_id, instance.map_index): str(instance.state) for instance in instances},
            trials=[
                instance.rendered_map_index
                for instance in sorted(instances, key=lambda instance: instance.map_index)
                if instance.task_id == "training.train" and instance.map_index >= 0
            ],
            returned=returned,
            jobs=board["jobs"],
            best=board["best"],
        )

    return train


def test_of_several_trials_the_best_goes_on_with_its_own_label_set_and_a_failed_one_is_named(
    train: Train, triples: DatasetVersion, caplog: pytest.LogCaptureFixture
) -> None:
    trials = [
        {"name": "slow", "hyperparameters": {"learning_rate": 0.0001}},
        {"name": "deep", "hyperparameters": {"num_layers": 44}},
        {"name": "three-digits", "dataset": "triples", "hyperparameters": {"learning_rate": 0.01}},
    ]
    with caplog.at_level("INFO"):
        run = train({"training.trials": trials})

    assert run.state == "success"
    assert run.states("training.train") == ["success", "failed", "success"]
    assert run.trials == ["slow", "deep", "three-digits"]
    best = run.returned["training.select_best"]
    assert (best["trial"], best["dataset_uri"]) == ("three-digits", triples.uri)
    assert [(job["trial"], job["part"], job["place"] is None) for job in run.jobs] == [
        ("", "incremental", False),
        ("three-digits", "base", False),
        ("slow", "base", False),
        ("deep", "base", True),
    ]
    assert run.jobs[3]["reason"] == "Failed: ClientError: Customer Error: 44 layers are too many, exit code: 1"
    incremental = run.returned["training.train_incremental"]
    assert incremental["dataset_uri"] == triples.uri
    assert run.returned["evaluation.evaluate"]["images"] == triples.counts.test
    registered = run.returned["registration.register_model"]
    assert (registered["dataset"], registered["dataset_uri"]) == ("triples", triples.uri)
    assert run.returned["summarise"]["dataset"]["name"] == "triples"
    log = caplog.text
    assert f"{best['job']} is selected: the highest validation:accuracy" in log
    assert "Validation accuracy after the first epoch: incremental" in log


@pytest.fixture(scope="module")
def tuned_first(train: Train) -> Run:
    """A run that tunes for one epoch and trains for four."""
    conf = {
        "training.mode": "tune_then_train",
        "training.hyperparameters.epochs": 4,
        "tuning.epochs": 1,
        "incremental.enabled": False,
        **TUNED,
    }
    return train(conf)


def test_the_best_hyperparameters_of_a_tuning_train_a_full_job_which_goes_on(tuned_first: Run) -> None:
    run = tuned_first

    assert run.state == "success"
    assert run.states("training.train") == ["skipped"]
    full = run.returned["training.train_tuned"]
    assert (full["hyperparameters"]["learning_rate"], full["hyperparameters"]["epochs"]) == ("0.01", "4")
    assert run.returned["training.select_best"]["job"] == run.best == full["name"]
    assert run.returned["registration.register_model"]["job"] == full["name"]
    assert sorted((job["part"], len(job["epochs"])) for job in run.jobs) == [("tuned", 4), *[("tuning", 1)] * 3]


def test_of_training_and_tuning_the_better_goes_on_and_the_search_starts_with_the_one_before(
    train: Train, tuned_first: Run, world: World
) -> None:
    conf = {"training.mode": "both", "training.hyperparameters.learning_rate": 0.0001, **TUNED}
    run = train({**conf, "tuning.warm_start.from": "latest"})

    best = run.job(str(run.best))
    assert (best["part"], best["hyperparameters"]["learning_rate"]) == ("tuning", "0.01")
    incremental = run.returned["training.train_incremental"]["hyperparameters"]
    assert (incremental["epochs"], incremental["mini_batch_size"]) == ("2", best["hyperparameters"]["mini_batch_size"])
    tuning = run.returned["training.tune"]["name"]
    started = world.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)
    parent = tuned_first.returned["training.tune"]["name"]
    assert started["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }


def test_without_any_usable_job_the_run_says_why_and_leaves_the_leaderboard(
    train: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train({"training.hyperparameters.num_layers": 44})

    assert (run.state, run.best) == ("failed", None)
    assert run.states("training.select_best") == ["failed"]
    assert run.states("registration.register_model") == ["upstream_failed"]
    assert [job["reason"] for job in run.jobs] == [
        "Failed: ClientError: Customer Error: 44 layers are too many, exit code: 1"
    ]
    assert "No training job completed with validation:accuracy:" in capfd.readouterr().out
