"""A local AWS and an Airflow of a benchmark's own, with a dataset version of thirty digits."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from typing import Any

import httpx
import psutil

from demo.airflow_client import AirflowClient, AirflowError, TaskRun
from demo.bootstrap import IMAGES_PREFIX, LocalSettings, bootstrap, client_config, local_session
from demo.processes import BackgroundProcess
from demo.sample_images import digit_images, upload
from demo.services import ROOT, USER, airflow_environment, write_private
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf

START_SECONDS = 300.0
IMAGES_OF_A_CLASS = 15
DATASET = {
    "dataset.name": "digits",
    "dataset.packing.resize": 28,
    "dataset.split.train": 0.6,
    "dataset.split.validation": 0.2,
    "dataset.split.test": 0.2,
    "training.hyperparameters.image_shape": "3,28,28",
    "training.hyperparameters.num_layers": 20,
    "training.hyperparameters.epochs": 5,
    "training.hyperparameters.mini_batch_size": 4,
}


class Operator(AirflowClient):
    """Starts runs, and ends them when they have been measured."""

    def abandon(self, dag_id: str, run_id: str) -> None:
        """Fail a run with all that is left of it."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})


@dataclass(frozen=True)
class Installation:
    """Everything that runs."""

    aws_url: str
    settings: LocalSettings
    version: DatasetVersion
    operator: Operator
    airflow: BackgroundProcess

    @property
    def sagemaker(self) -> Any:
        """A client of the local SageMaker."""
        return _client("sagemaker", self.aws_url)

    def training_jobs(self) -> dict[str, str]:
        """Every training job and its status."""
        pages = self.sagemaker.get_paginator("list_training_jobs").paginate()
        return {
            job["TrainingJobName"]: job["TrainingJobStatus"] for page in pages for job in page["TrainingJobSummaries"]
        }

    def calls(self) -> dict[str, int]:
        """How often each action of AWS was called, by `service:Action`."""
        counts: dict[str, int] = httpx.get(f"{self.aws_url}/_local_aws/calls", trust_env=False).json()
        return counts

    def conf(self, **changes: Any) -> dict[str, Any]:
        """A run conf that trains on the version; `changes` come as section__field."""
        return {
            **{name: value for name, value in DATASET.items() if name.startswith("training.")},
            "dataset.name": self.version.name,
            "dataset.version": self.version.version,
            "training.mode": "train",
            "incremental.enabled": False,
            "promotion.minimum_accuracy": 0.0,
            **{name.replace("__", "."): value for name, value in changes.items()},
        }

    def finished_task(self, dag_id: str, run_id: str, task_id: str) -> TaskRun:
        """Wait until a task with one copy has ended, and return it."""

        def ended() -> TaskRun | None:
            with suppress(AirflowError):  # a busy API server is asked again
                found = [task for task in self.operator.task_runs(dag_id, run_id) if task.task_id == task_id]
                return found[0] if found and found[0].state in ("success", "failed", "upstream_failed") else None
            return None

        task: TaskRun = wait_until(ended, f"{task_id} of {run_id} has ended")
        return task

    def cpu_seconds(self, component: str) -> float:
        """Seconds of CPU that the processes of an Airflow component have taken so far."""
        spent = 0.0
        for process in psutil.Process(self.airflow.pid).children(recursive=True):
            with suppress(psutil.Error):
                if component in " ".join(process.cmdline()):
                    times = process.cpu_times()
                    spent += times.user + times.system
        return spent


@contextmanager
def installed(
    state: Path, dag_id: str, algorithm: list[str], *, jobs: int, poll_seconds: int
) -> Iterator[Installation]:
    """Start it all, with `algorithm` as the command of the built-in one, and end it at the end.

    :param jobs: how many jobs the local AWS runs at once
    """
    aws_url, airflow_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    settings = replace(LocalSettings.at(aws_url), poll_seconds=poll_seconds)
    environment = airflow_environment(state, settings, aws_url, airflow_url)
    password = secrets.token_urlsafe(12)
    passwords = Path(environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    write_private(passwords, json.dumps({USER: password}) + "\n")
    server = [
        sys.executable,
        "-m",
        "local_aws",
        "--port",
        aws_url.rpartition(":")[2],
        "--state-dir",
        str(state / "aws"),
    ]
    server += ["--jobs", str(jobs), "--image", f"image-classification={' '.join(algorithm)}"]
    started = [BackgroundProcess.start("Local AWS", server, environment, ROOT, state / "logs" / "aws.log")]
    try:
        wait_until(lambda: _answers(aws_url), "the local AWS answers")
        bootstrap(settings, local_session(), aws_url)
        version = publish_digits(_client("s3", aws_url), settings)
        command = [sys.executable, "-m", "demo.airflow_standalone"]
        started.append(BackgroundProcess.start("Airflow", command, environment, ROOT, state / "logs" / "airflow.log"))
        with wait_until(lambda: _signed_in(airflow_url, password), "Airflow answers") as operator:
            operator.wait_for_dag(dag_id, START_SECONDS)
            operator.unpause(dag_id)
            yield Installation(aws_url, settings, version, operator, started[-1])
    finally:
        for process in reversed(started):
            process.end()


def publish_digits(s3: Any, settings: LocalSettings) -> DatasetVersion:
    """Publish a dataset version of thirty digits, without Airflow."""
    chosen = [
        image for label in "01" for image in [it for it in digit_images() if it.key[0] == label][:IMAGES_OF_A_CLASS]
    ]
    upload(s3, settings.data_bucket, IMAGES_PREFIX, chosen)
    conf = RunConf.from_conf(DATASET | {"dataset.source": f"s3://{settings.data_bucket}/{IMAGES_PREFIX}"}).dataset
    plan = plan_version(s3, conf, data_bucket=settings.data_bucket, run_id="by hand", run_after=datetime.now(UTC))
    return publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])


def wait_until(seen: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """Ask until something is seen, and return it; ends the benchmark if it takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        if time.monotonic() > deadline:
            sys.exit(f"Not within {seconds:.0f} s: {what}.")
        time.sleep(0.5)
    return found


def free_port() -> int:
    """A port that nothing listens on."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _client(service: str, aws_url: str) -> Any:
    session: Any = local_session()
    return session.client(service, endpoint_url=aws_url, config=client_config())


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/_local_aws/calls", trust_env=False).is_success
    return False


def _signed_in(url: str, password: str) -> Operator | None:
    with suppress(AirflowError, httpx.HTTPError):
        return Operator(url, USER, password)
    return None
