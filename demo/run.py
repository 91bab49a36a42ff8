"""`make demo` and `make demo-pytorch`: start what is needed, upload images, run the chain, show it, and sum it up."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from demo.airflow_client import AirflowClient, AirflowError, DagRun
from demo.bootstrap import IMAGES_PREFIX, client_config, local_session
from demo.progress import BROKEN, Snapshot, display_for, stages
from demo.sample_images import digit_images, remove_mixed_up, upload
from demo.services import COMMANDS_HINT, STATE, Services, ServicesError, requested_ports, up, write_private
from demo.summary import SummaryError, dataset_page, print_summary, read_summary
from demo.training_jobs import TrainingJob, TrainingJobWatch

DAG_ID = "image_classification"
DAG_SECONDS = 120
LOOK_SECONDS = 2.0
"""Between two looks, each of which takes a tenth of a second of the processor that the run needs."""
LOG_LINES = 20
LOG_GROUPS = ("::group::", "::endgroup::")
FAILED = "Task failed"
WITH_TRACEBACK = "Task failed with exception"
LINE_WIDTH = 120


class RunFailedError(Exception):
    """The run ended without success; the message holds the end of each failed task's log."""


@dataclass(frozen=True)
class Example:
    """A run that a demo shows: its name, by which its files in `.local` begin, and its run conf."""

    name: str
    conf: str

    def read_conf(self) -> dict[str, Any]:
        """The run conf."""
        conf: dict[str, Any] = json.loads((Path(__file__).parent / self.conf).read_text(encoding="utf-8"))
        return conf


BUILT_IN = Example("demo", "run_conf.json")
"""SageMaker's built-in algorithm: trained and tuned, the best model trained further."""
PYTORCH = Example("demo-pytorch", "run_conf_pytorch.json")
"""The scripts of `algorithms/pytorch`: tuned, then trained in full with what the tuning found."""


def main(show: Callable[[Console, Path, int, int], object] | None = None) -> int:
    """Run the demo, or what else is to be shown; what can go wrong ends as a message and exit code 1."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LINE_WIDTH)
    try:
        (show or demo)(console, STATE, *requested_ports())
    except (ServicesError, AirflowError, RunFailedError, SummaryError) as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"The local AWS failed: {error}. Its log: {STATE / 'logs' / 'local-aws.log'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Services that were up keep running: `make down` ends them.", file=sys.stderr)
        return 130
    return 0


def demo_pytorch(console: Console, state: Path, aws_port: int, airflow_port: int) -> Services:
    """The demo of the PyTorch scripts."""
    return demo(console, state, aws_port, airflow_port, PYTORCH)


def demo(console: Console, state: Path, aws_port: int, airflow_port: int, example: Example = BUILT_IN) -> Services:
    """Start the services unless they are up, run the chain once, and write the summary into the `state` folder."""
    services = up(state, aws_port, airflow_port, lambda line: console.print(line, markup=False))
    console.print(services.sign_in_hint(), markup=False)
    session = local_session()
    s3 = session.client("s3", endpoint_url=services.aws_url, config=client_config())
    bucket = services.settings.data_bucket
    images = list(digit_images())
    remove_mixed_up(s3, bucket, IMAGES_PREFIX)
    new = upload(s3, bucket, IMAGES_PREFIX, images)
    console.print(f"{len(images)} images are in s3://{bucket}/{IMAGES_PREFIX}, {new} of them new", markup=False)

    with AirflowClient(services.airflow_url, services.user, services.password) as airflow:
        airflow.wait_for_dag(DAG_ID, DAG_SECONDS)
        airflow.unpause(DAG_ID)
        since = datetime.now(UTC) - timedelta(seconds=1)
        conf = example.read_conf()
        if "preset" in conf:
            said = f"Run conf: {json.dumps(conf)}. The log of check_conf lists what the preset sets."
            console.print(said, markup=False)
        run_id = airflow.trigger(DAG_ID, conf)
        console.print(f"Run: {services.airflow_url}/dags/{DAG_ID}/runs/{run_id}\n", markup=False, soft_wrap=True)
        watch = TrainingJobWatch(session, services.aws_url, since)
        run = follow(console, airflow, DAG_ID, run_id, watch)
        if run.state != "success":
            raise RunFailedError(failure(airflow, DAG_ID, run_id, services))
        jobs: list[TrainingJob] = watch.look()
        summary = read_summary(airflow, session, services, run_id, jobs)

    file = state / f"{example.name}-summary.json"
    write_private(file, summary.to_json())
    page = state / f"{example.name}-dataset.html"
    page.write_bytes(dataset_page(s3, summary))
    print_summary(console, summary, jobs)
    console.print(f"\n{services.sign_in_hint()}", markup=False)
    shown = f"Dataset page: {page.relative_to(state.parent)}   All figures: {file.relative_to(state.parent)}"
    console.print(f"{shown}   `make down` ends the services.", markup=False)
    console.print(COMMANDS_HINT, markup=False)
    return services


def follow(console: Console, airflow: AirflowClient, dag_id: str, run_id: str, watch: TrainingJobWatch) -> DagRun:
    """Show the run until it is over, and return it."""
    order: Mapping[str, int] = airflow.task_order(dag_id)
    started = time.monotonic()
    with display_for(console) as display:
        while True:
            run = airflow.dag_run(dag_id, run_id)
            tasks = stages(airflow.task_runs(dag_id, run_id), order)
            seconds = run.wall_seconds or time.monotonic() - started
            display.show(Snapshot(dag_id, seconds, tasks, watch.look()))
            if run.is_over:
                return run
            time.sleep(LOOK_SECONDS)


def failure(airflow: AirflowClient, dag_id: str, run_id: str, services: Services) -> str:
    """Which tasks failed and the end of their logs."""
    failed = [task for task in airflow.task_runs(dag_id, run_id) if task.state in BROKEN - {"upstream_failed"}]
    parts: list[Any] = [f"The run {run_id} failed."]
    for task in failed:
        parts.append(f"{task.task_id}, try {task.try_number}:")
        parts += [f"  {line}" for line in reason(airflow.log_lines(dag_id, run_id, task))]
    parts.append(f"The whole run: {services.airflow_url}/dags/{dag_id}/runs/{run_id}")
    return "\n".join(parts)


def reason(log: Sequence[str]) -> list[str]:
    """The lines of a task's log that say why it failed: what follows Airflow's word for it, or the last ones."""
    lines = [line for line in log if not line.startswith(LOG_GROUPS) and line != "Retry policy decision"]
    failed = [place for place, line in enumerate(lines) if line.startswith(FAILED)]
    if not failed:
        return lines[-LOG_LINES:]
    shown = lines[failed[-1] :]
    return shown[1 : LOG_LINES + 1] if shown[0] == WITH_TRACEBACK else shown[:LOG_LINES]
