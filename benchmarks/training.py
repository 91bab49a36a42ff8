"""What orchestration costs: preflight, the time a training task adds to its job, API calls and CPU while jobs run.

    .venv/bin/python -m benchmarks.training [--jobs 50] [--write]

An Airflow of its own (scheduler, LocalExecutor, triggerer, API server on SQLite) runs `train_model` against a local AWS
that counts the calls. The container is a stand-in that prints an epoch's two lines every five seconds, so that nothing
but the orchestration takes time. The installation polls its jobs every 5 s; a second one, as often as an installation
that says nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from include.datasets.version import DatasetVersion
from include.sagemaker.naming import job_name
from include.settings import Settings
from tests.end_to_end.chaos.installation import publish_small_version
from tests.support.airflow_home import ROOT, migrate_once
from tests.support.gated_algorithm import OPEN_AFTER, PACE
from tests.support.live_airflow import LiveAirflow, Operator, conf_of
from tests.support.local_aws import calls, eventually
from tests.support.world import World, running_world

DAG_ID = "train_model"
TRAIN = "training.train"
BEFORE = "training.plan_trials"
ALGORITHM = ROOT / "tests" / "end_to_end" / "gated_algorithm.py"
POLL_SECONDS = 5
DEFAULT_POLL_SECONDS = Settings.model_fields["poll_seconds"].default
EPOCH_SECONDS = 5
JOB_SECONDS = 20
RUNS = 5
WINDOW_SECONDS = 180.0
DEFER_SECONDS = 900.0
PAGE, BEGIN, END = (
    ROOT / "docs/benchmarks.md",
    "<!-- figures of make bench-training -->",
    "<!-- end of these figures -->",
)
ASKED_BY_TRIGGERS = ("sagemaker:Describe", "sagemaker:List", "logs:")


@dataclass(frozen=True)
class Installation:
    """Everything that runs; `gates` tells the stand-in how long to train."""

    world: World
    version: DatasetVersion
    airflow: LiveAirflow
    operator: Operator
    gates: Path
    poll_seconds: int

    def tasks(self, run_id: str) -> list[Any]:
        """The tasks of a run."""
        return self.operator.task_runs(DAG_ID, run_id)


@dataclass(frozen=True)
class Row:
    """One measure beside its target."""

    name: str
    measured: str
    target: str


def main() -> None:
    """Measure, and print a table as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--jobs", type=int, default=50, help="waiting at once (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=RUNS, help="timed one after the other (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this process
    rows: list[Row] = []
    with in_folder() as folder, installed(folder, options.jobs, POLL_SECONDS) as ready:
        rows += [*time_runs(ready, options.runs), *watch_jobs(ready, options.jobs)]
    with in_folder() as folder, installed(folder, 1, DEFAULT_POLL_SECONDS) as ready:
        rows += watch_jobs(ready, 1)
    table = "\n".join(
        ["| measure | here | target |", "|---|---|---|", *(f"| {r.name} | {r.measured} | {r.target} |" for r in rows)]
    )
    machine = f"{os.cpu_count()} cores {platform.machine()}"
    print(f"\n{machine}\n\n{table}")
    if options.write:
        text = PAGE.read_text()
        PAGE.write_text(f"{text.partition(BEGIN)[0]}{BEGIN}\n\n{machine}:\n\n{table}\n\n{END}{text.partition(END)[2]}")


@contextmanager
def in_folder() -> Iterator[Path]:
    """A folder of one installation."""
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        yield Path(folder)


@contextmanager
def installed(state: Path, jobs: int, poll_seconds: int) -> Iterator[Installation]:
    """Start local AWS and Airflow, with a published version of thirty digits."""
    gates = state / "gates"
    gates.mkdir()
    (gates / PACE).write_text(str(EPOCH_SECONDS))
    image = f"image-classification={sys.executable} {ALGORITHM} {gates}"
    with running_world(state / "aws", "--jobs", str(jobs), "--image", image) as started:
        world = World(started.aws, replace(started.settings, poll_seconds=poll_seconds))
        version = publish_small_version(world)
        airflow = LiveAirflow(state, world, migrate_once(state))
        try:
            print("Starting Airflow ...", flush=True)
            airflow.start()
            operator = airflow.operator()
            with operator:
                operator.wait_for_dag(DAG_ID, 300)
                operator.unpause(DAG_ID)
                yield Installation(world, version, airflow, operator, gates, poll_seconds)
        finally:
            airflow.end()


def time_runs(ready: Installation, runs: int) -> Iterator[Row]:
    """Runs one after the other, each with one job of known length: the preflight task, and what its job's task adds."""
    (ready.gates / OPEN_AFTER).write_text(str(JOB_SECONDS))
    preflights, overheads = [], []
    for number in range(runs):
        run_id = ready.operator.trigger(DAG_ID, conf_of(ready.version))
        ready.operator.finished_task(DAG_ID, run_id, TRAIN)
        tasks = {task.task_id: task for task in ready.tasks(run_id)}
        job = job_name(dag_id=DAG_ID, run_id=run_id, task_id=TRAIN, map_index=0)
        described = ready.world.sagemaker.describe_training_job(TrainingJobName=job)
        own = (described["TrainingEndTime"] - described["CreationTime"]).total_seconds()
        took = (tasks[TRAIN].end - tasks[BEFORE].end).total_seconds()
        preflights.append((tasks["check_conf"].end - tasks["check_conf"].start).total_seconds())
        overheads.append(took - own)
        print(f"run {number + 1}: preflight {preflights[-1]:.1f} s, {overheads[-1]:.1f} s over {own:.1f} s", flush=True)
        ready.operator.finished(DAG_ID, run_id)
    yield Row("preflight, the whole task", spread(preflights), "5 s")
    yield Row("training task over its job's own time", spread(overheads), "10 s")


def watch_jobs(ready: Installation, jobs: int) -> Iterator[Row]:
    """One run with so many trials, all waiting: calls to AWS and CPU of the triggerer for some minutes."""
    (ready.gates / OPEN_AFTER).unlink(missing_ok=True)
    trials = [
        {"name": f"t{number}", "hyperparameters": {"learning_rate": 0.001 * (number + 1)}} for number in range(jobs)
    ]
    run_id = ready.operator.trigger(DAG_ID, conf_of(ready.version, training__trials=trials))
    print(f"Waiting until {jobs} tasks wait ...", flush=True)
    deadline = time.monotonic() + DEFER_SECONDS
    while deferred(ready, run_id) < jobs and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(4 * ready.poll_seconds)  # every trigger has had its first looks
    calls_before, cpu_before, began = calls(ready.world.aws.url), triggerer_cpu(ready), time.monotonic()
    time.sleep(WINDOW_SECONDS)
    minutes = (time.monotonic() - began) / 60
    cpu = triggerer_cpu(ready) - cpu_before
    made = {
        action: count - calls_before.get(action, 0)
        for action, count in calls(ready.world.aws.url).items()
        if action.startswith(ASKED_BY_TRIGGERS)
    }
    still = deferred(ready, run_id)
    if still != jobs:
        sys.exit(f"Only {still} of {jobs} tasks still wait: nothing was measured.")
    noun = f"{'job' if jobs == 1 else 'jobs'} waiting, looked at every {ready.poll_seconds} s"
    told = ", ".join(f"{action.partition(':')[2]} {count / minutes:.1f}" for action, count in made.items() if count)
    print(f"{jobs} {noun}, calls to AWS a minute: {told}; CPU {cpu:.2f} s in {minutes * 60:.0f} s", flush=True)
    yield Row(f"calls to AWS a minute and job, {jobs} {noun}", f"{sum(made.values()) / minutes / jobs:.2f}", "4")
    yield Row(f"triggerer, {jobs} {noun}", f"{100 * cpu / minutes / 60:.1f} % of a core", "5 %")
    ready.operator.abandon(DAG_ID, run_id)
    for job in ready.world.training_jobs():
        (ready.gates / job).touch()
    eventually(lambda: "InProgress" not in ready.world.training_jobs().values(), 300)


def deferred(ready: Installation, run_id: str) -> int:
    """How many training tasks wait; ends the benchmark where one has failed."""
    tasks = ready.tasks(run_id)
    failed = [task for task in tasks if task.state == "failed"]
    if failed:
        sys.exit("\n".join([f"{failed[0].task_id} failed:", *ready.operator.log_lines(DAG_ID, run_id, failed[0])]))
    return sum(task.task_id == TRAIN and task.state == "deferred" for task in tasks)


def triggerer_cpu(ready: Installation) -> float:
    """Seconds of CPU that the triggerer's processes have taken so far."""
    times = [process.cpu_times() for process in ready.airflow.processes("airflow triggerer")]
    return sum(spent.user + spent.system for spent in times)


def spread(seconds: list[float]) -> str:
    """Median and longest."""
    return f"{statistics.median(seconds):.1f} s (longest of {len(seconds)}: {max(seconds):.1f} s)"


if __name__ == "__main__":
    main()
