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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.installation import Installation, installed, wait_until
from benchmarks.timed_algorithm import JOB_SECONDS
from demo.services import ROOT
from include.sagemaker.naming import job_name
from include.settings import Settings

DAG_ID = "train_model"
TRAIN = "training.train"
BEFORE = "training.plan_trials"
ALGORITHM = Path(__file__).with_name("timed_algorithm.py")
POLL_SECONDS = 5
DEFAULT_POLL_SECONDS = Settings.model_fields["poll_seconds"].default
SECONDS_OF_A_JOB = 20
RUNS = 5
WINDOW_SECONDS = 180.0
DEFER_SECONDS = 900.0
PAGE, BEGIN, END = (
    ROOT / "docs/explanation/benchmarks.md",
    "<!-- figures of make bench-training -->",
    "<!-- end of these figures -->",
)
ASKED_BY_TRIGGERS = ("sagemaker:Describe", "sagemaker:List", "logs:")


@dataclass(frozen=True)
class Measured:
    """The installation that is measured; its stand-in reads from the folder `gates` how long to train."""

    installation: Installation
    gates: Path
    poll_seconds: int

    def tasks(self, run_id: str) -> list[Any]:
        """The tasks of a run."""
        return self.installation.operator.task_runs(DAG_ID, run_id)

    def start(self, **changes: Any) -> str:
        """Start a run, and return its id."""
        return self.installation.operator.trigger(DAG_ID, self.installation.conf(**changes))


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
    parser.add_argument("--write", action="store_true", help="keep the table in docs/explanation/benchmarks.md")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this process
    rows: list[Row] = []
    with measured(options.jobs, POLL_SECONDS) as ready:
        rows += [*time_runs(ready, options.runs), *watch_jobs(ready, options.jobs)]
    with measured(1, DEFAULT_POLL_SECONDS) as ready:
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
def measured(jobs: int, poll_seconds: int) -> Iterator[Measured]:
    """An installation in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        gates = Path(folder) / "gates"
        gates.mkdir()
        print("Starting Airflow ...", flush=True)
        algorithm = [sys.executable, str(ALGORITHM), str(gates)]
        with installed(Path(folder), DAG_ID, algorithm, jobs=jobs, poll_seconds=poll_seconds) as installation:
            yield Measured(installation, gates, poll_seconds)


def time_runs(ready: Measured, runs: int) -> Iterator[Row]:
    """Runs one after the other, each with one job of known length: the preflight task, and what its job's task adds."""
    (ready.gates / JOB_SECONDS).write_text(str(SECONDS_OF_A_JOB))
    installation = ready.installation
    preflights, overheads = [], []
    for number in range(runs):
        run_id = ready.start()
        installation.finished_task(DAG_ID, run_id, TRAIN)
        tasks = {task.task_id: task for task in ready.tasks(run_id)}
        job = job_name(dag_id=DAG_ID, run_id=run_id, task_id=TRAIN, map_index=0)
        described = installation.sagemaker.describe_training_job(TrainingJobName=job)
        own = (described["TrainingEndTime"] - described["CreationTime"]).total_seconds()
        took = (tasks[TRAIN].end - tasks[BEFORE].end).total_seconds()
        preflights.append((tasks["check_conf"].end - tasks["check_conf"].start).total_seconds())
        overheads.append(took - own)
        print(f"run {number + 1}: preflight {preflights[-1]:.1f} s, {overheads[-1]:.1f} s over {own:.1f} s", flush=True)
        installation.operator.abandon(DAG_ID, run_id)
    yield Row("preflight, the whole task", spread(preflights), "5 s")
    yield Row("training task over its job's own time", spread(overheads), "10 s")


def watch_jobs(ready: Measured, jobs: int) -> Iterator[Row]:
    """One run with this many trials, all waiting: calls to AWS and CPU of the triggerer for some minutes."""
    installation = ready.installation
    (ready.gates / JOB_SECONDS).unlink(missing_ok=True)
    trials = [
        {"name": f"t{number}", "hyperparameters": {"learning_rate": 0.001 * (number + 1)}} for number in range(jobs)
    ]
    run_id = ready.start(training__trials=trials)
    print(f"Waiting until {jobs} tasks wait ...", flush=True)
    deadline = time.monotonic() + DEFER_SECONDS
    while deferred(ready, run_id) < jobs and time.monotonic() < deadline:
        time.sleep(1)
    time.sleep(4 * ready.poll_seconds)  # every trigger has had its first looks
    calls_before, cpu_before, began = installation.calls(), installation.cpu_seconds("triggerer"), time.monotonic()
    time.sleep(WINDOW_SECONDS)
    minutes = (time.monotonic() - began) / 60
    cpu = installation.cpu_seconds("triggerer") - cpu_before
    made = {
        action: count - calls_before.get(action, 0)
        for action, count in installation.calls().items()
        if action.startswith(ASKED_BY_TRIGGERS)
    }
    still = deferred(ready, run_id)
    if still != jobs:
        sys.exit(f"Only {still} of {jobs} tasks still wait: nothing was measured.")
    noun = f"{'job' if jobs == 1 else 'jobs'} waiting, polled every {ready.poll_seconds} s"
    told = ", ".join(f"{action.partition(':')[2]} {count / minutes:.1f}" for action, count in made.items() if count)
    print(f"{jobs} {noun}, calls to AWS a minute: {told}; CPU {cpu:.2f} s in {minutes * 60:.0f} s", flush=True)
    yield Row(f"calls to AWS a minute and job, {jobs} {noun}", f"{sum(made.values()) / minutes / jobs:.2f}", "4")
    yield Row(f"triggerer, {jobs} {noun}", f"{100 * cpu / minutes / 60:.1f} % of a core", "5 %")
    installation.operator.abandon(DAG_ID, run_id)
    for job in installation.training_jobs():
        (ready.gates / job).touch()
    wait_until(lambda: "InProgress" not in installation.training_jobs().values(), "every job has ended")


def deferred(ready: Measured, run_id: str) -> int:
    """How many training tasks wait; ends the benchmark where one has failed."""
    tasks = ready.tasks(run_id)
    failed = [task for task in tasks if task.state == "failed"]
    if failed:
        sys.exit(
            "\n".join(
                [f"{failed[0].task_id} failed:", *ready.installation.operator.log_lines(DAG_ID, run_id, failed[0])]
            )
        )
    return sum(task.task_id == TRAIN and task.state == "deferred" for task in tasks)


def spread(seconds: list[float]) -> str:
    """Median and longest."""
    return f"{statistics.median(seconds):.1f} s (longest of {len(seconds)}: {max(seconds):.1f} s)"


if __name__ == "__main__":
    main()
