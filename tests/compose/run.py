"""`make test-compose`: the chain and a retraining in the installation of docker-compose.yaml, with two Celery workers.

Starts the installation, trains on most of the sample images, drops the others into the bucket, and waits until the
retraining that they start has deployed. Prints figures as they come and removes the installation at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from demo.airflow_client import AirflowClient, DagRun
from demo.bootstrap import IMAGES_PREFIX, LocalSettings, client_config, local_session
from demo.sample_images import digit_images, upload

ROOT = Path(__file__).resolve().parents[2]
CHAIN = "image_classification"
RETRAINING = "retrain_on_new_images"
WORKERS = 2
HELD_BACK = 197
START_SECONDS = 600
CHAIN_SECONDS = 1200
RETRAINING_SECONDS = 1200
Found = TypeVar("Found")
RUN_CONF = {
    "dataset": {"name": "digits", "packing": {"resize": 28, "shard_images": 400}},
    "training": {"mode": "train", "hyperparameters": {"num_layers": 20, "image_shape": "3,28,28", "epochs": 4}},
    "incremental": {"hyperparameters": {"epochs": 2, "learning_rate": 0.01}},
}

started = time.monotonic()


def say(line: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - started:4.0f} s] {line}", flush=True)


def main() -> int:
    """Run the test; return 0 when the retraining has deployed."""
    try:
        compose("up", str(WORKERS))
        say(f"docker compose is up with {WORKERS} workers")
        chain_and_retraining(sign_in())
    except AssertionError as failure:
        say(f"FAILED: {failure}")
        return 1
    finally:
        if "--keep" not in sys.argv:
            compose("down")
    say("passed")
    return 0


def compose(*arguments: str) -> None:
    """Run the commands behind `make up` and `make compose-down`."""
    subprocess.run([sys.executable, "tools/compose.py", *arguments], cwd=ROOT, check=True)


def sign_in() -> AirflowClient:
    """Sign in as soon as Airflow answers."""
    lines = (line.partition("=") for line in (ROOT / ".env").read_text().splitlines())
    password = {name: value for name, _, value in lines}["ADMIN_PASSWORD"]
    url = f"http://127.0.0.1:{os.environ.get('AIRFLOW_PORT') or 8080}"

    def answers() -> AirflowClient | None:
        try:
            return AirflowClient(url, "admin", password)
        except httpx.HTTPError:
            return None

    client = wait_for(answers, START_SECONDS, "Airflow to answer")
    client.wait_for_dag(CHAIN, START_SECONDS)
    client.wait_for_dag(RETRAINING, START_SECONDS)
    say("Airflow has read the DAGs")
    return client


def chain_and_retraining(airflow: AirflowClient) -> None:
    """Run the chain, drop new images, and wait for what they start."""
    aws_url = f"http://127.0.0.1:{os.environ.get('PORT') or 4566}"
    s3 = local_session().client("s3", endpoint_url=aws_url, config=client_config())
    sagemaker = local_session().client("sagemaker", endpoint_url=aws_url)
    bucket = LocalSettings.at(aws_url).data_bucket
    images = list(digit_images())
    say(f"{upload(s3, bucket, IMAGES_PREFIX, images[:-HELD_BACK])} images are in the bucket")

    airflow.unpause(CHAIN)
    run_id = airflow.trigger(CHAIN, RUN_CONF)
    chain = wait_for(lambda: over(airflow.dag_run(CHAIN, run_id)), CHAIN_SECONDS, f"{CHAIN} to end")
    report(airflow, CHAIN, chain)
    assert chain.state == "success", f"{CHAIN} {run_id} ended as {chain.state}"
    before = sagemaker.describe_endpoint(EndpointName="digits")["EndpointConfigName"]

    airflow.unpause(RETRAINING)
    dropped = time.monotonic()
    say(f"dropping {upload(s3, bucket, IMAGES_PREFIX, images[-HELD_BACK:])} new images")
    retraining = wait_for(lambda: deployed(airflow), RETRAINING_SECONDS, "the new images to start a retraining")
    report(airflow, RETRAINING, retraining)
    after = sagemaker.describe_endpoint(EndpointName="digits")
    assert after["EndpointStatus"] == "InService", f"the endpoint is {after['EndpointStatus']}"
    assert after["EndpointConfigName"] != before, f"the endpoint still serves {before}"
    say(f"from new images to the new model: {time.monotonic() - dropped:.0f} s")
    say(f"the endpoint config was {before} and is {after['EndpointConfigName']}")


def over(run: DagRun) -> DagRun | None:
    """The run once it has ended."""
    return run if run.is_over else None


def deployed(airflow: AirflowClient) -> DagRun | None:
    """The retraining that deployed, once there is one; a run that finds nothing new is none."""
    for run in airflow.dag_runs(RETRAINING):
        assert run.state != "failed", f"{RETRAINING} {run.run_id} failed"
        if run.is_over and airflow.returned(RETRAINING, run.run_id, "deployment.deploy"):
            return run
    return None


def report(airflow: AirflowClient, dag_id: str, run: DagRun) -> None:
    """Print what a run made, and which workers ran its tasks."""

    def returned(task_id: str) -> dict[str, Any]:
        return airflow.returned(dag_id, run.run_id, task_id) or {}

    version = returned("dataset.publish")
    tasks = airflow.task_runs(dag_id, run.run_id)
    workers = sorted({task.hostname for task in tasks if task.hostname})
    say(f"{dag_id}: {run.state} in {run.wall_seconds:.0f} s on the workers {', '.join(workers)}")
    if version:
        say(f"  dataset {version['version']}: {version['counts']}, {version['new_images']} of them new")
        say(f"  parent {version['parent']}")
    say(f"  test accuracy {returned('evaluation.evaluate').get('accuracy')}")
    for task in tasks:
        if task.state == "failed":
            say(f"  {task.task_id} failed:")
            print("\n".join(f"    {line}" for line in airflow.log_lines(dag_id, run.run_id, task)[-20:]))


def wait_for(look: Callable[[], Found | None], seconds: float, what: str) -> Found:
    """Look until something is found."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(2)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


if __name__ == "__main__":
    sys.exit(main())
