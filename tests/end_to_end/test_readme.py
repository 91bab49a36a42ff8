"""What the README and its first pages show: the demo, and the commands as they stand there."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cv2
import pytest
from rich.console import Console

from demo.bootstrap import client_config
from demo.run import LINE_WIDTH, demo
from demo.services import Services, down
from include.deployment import predict
from tests.support.live_airflow import Operator
from tests.support.pictures import pixels
from tests.support.ports import free_port
from tests.unit.docs.commands import FIRST_RUN, README, ROOT, WRITE_UPS, commands_of, terminals_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.enable_socket, pytest.mark.timeout(1800)]

DAG_ID = "image_classification"
CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
IMAGES = 60
"""As few photographs as the README asks for."""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="module")
def shown(state: Path) -> Iterator[str]:
    """What `make demo` prints once the environments are there; its services run until the end."""
    terminal = io.StringIO()
    try:
        demo(Console(file=terminal, highlight=False, width=LINE_WIDTH), state, free_port(), free_port())
        yield terminal.getvalue()
    finally:
        down(state, print)


@pytest.fixture(scope="module")
def services(shown: str, state: Path) -> Services:
    services = Services.read(state)
    assert services is not None, shown
    return services


@pytest.fixture(scope="module")
def airflow(services: Services) -> Operator:
    operator = Operator(services.airflow_url, services.user, services.password)
    operator.wait_for_dag(DAG_ID, 120)
    return operator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red roses and yellow tulips, with a name and the size of photographs."""
    folder = tmp_path_factory.mktemp("my flowers")
    for number in range(IMAGES):
        label, weaker = (("rose", (0, 1)), ("tulip", (0,)))[number % 2]
        photograph = pixels(480, 640, seed=number)
        for channel in weaker:
            photograph[:, :, channel] //= 4
        file = folder / label / f"IMG_{number:04}.JPG"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(cv2.imencode(".jpg", photograph)[1].tobytes())
    return folder


@pytest.fixture(scope="module")
def s3(services: Services) -> Any:
    return boto3.client("s3", **CREDENTIALS, endpoint_url=services.aws_url, config=client_config())


def run(command: str, state: Path, folder: Path, **environment: str) -> str:
    shown = command.replace(".local/run", str(state / "run")).replace("FOLDER", f"'{folder}'")
    shown = shown.replace("PHOTO.jpg", f"'{folder / 'rose' / 'IMG_0000.JPG'}'")
    ended = subprocess.run(
        ["/bin/sh", "-c", shown],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
    return ended.stdout


def test_the_demo_shows_what_the_readme_says(shown: str, state: Path) -> None:
    """Figures differ from run to run; stages, kinds of jobs and the names of figures do not."""
    (figures_shown, *_), (stages_shown, _) = terminals_of(README), terminals_of(FIRST_RUN)
    stages = re.findall(r"^  (\w+) +success ", stages_shown, re.MULTILINE)
    figures = re.findall(r"^  ([A-Z][a-z]+(?: [a-z]+)?)  ", figures_shown, re.MULTILINE)
    assert (len(stages), len(figures)) == (7, 10)
    assert figures_shown in stages_shown

    for stage in stages:
        assert f"] {stage}: success (" in shown
    for figure in figures:
        assert re.search(rf"^ *{figure} {{2}}", shown, re.MULTILINE), shown
    summary = json.loads((state / "demo-summary.json").read_text())
    assert f"{summary['test_accuracy']:.4f}" in shown
    assert summary["test_accuracy"] > 0.9
    assert "<h2" in (state / "demo-dataset.html").read_text()


def test_a_folder_of_photographs_becomes_a_prediction_by_the_commands_as_written(
    services: Services, airflow: Operator, s3: Any, state: Path, folder: Path
) -> None:
    """The shell has an Airflow and an AWS of its own, as a person's may have."""
    *before, predict_photo = [command for command in commands_of(README) if command.startswith(".local/run ")]
    assert (len(before), " dags trigger " in before[-1]) == (3, True)
    own = {"AIRFLOW_HOME": str(folder / "other"), "AWS_PROFILE": "mine", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    runs = {each.run_id for each in airflow.dag_runs(DAG_ID)}

    for command in before:
        run(command, state, folder, **own)
    (started,) = [each for each in airflow.dag_runs(DAG_ID) if each.run_id not in runs]
    ended = airflow.finished(DAG_ID, started.run_id)

    assert ended.state == "success"
    assert len(s3.list_objects_v2(Bucket=services.settings.data_bucket, Prefix="flowers/")["Contents"]) == IMAGES
    assert re.search(r"IMG_0000\.JPG +rose ", run(predict_photo, state, folder, **own))


def test_a_write_up_is_started_as_written(airflow: Operator, state: Path, folder: Path) -> None:
    runs = {each.run_id for each in airflow.dag_runs(DAG_ID)}

    for command in commands_of(WRITE_UPS):
        run(command, state, folder)

    (started,) = [each for each in airflow.dag_runs(DAG_ID) if each.run_id not in runs]
    airflow.abandon(DAG_ID, started.run_id)


def test_a_folder_goes_up_to_the_aws_of_ones_own_credentials(
    services: Services, s3: Any, state: Path, folder: Path
) -> None:
    (command,) = [each for each in commands_of(ROOT / "docs/reference/sources.md") if "include.datasets.upload" in each]
    s3.create_bucket(Bucket="my-bucket")
    variables = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}

    run(command, state, folder, AWS_ENDPOINT_URL=services.aws_url, **variables)

    assert len(s3.list_objects_v2(Bucket="my-bucket", Prefix="flowers/")["Contents"]) == IMAGES


def test_the_endpoint_of_the_demo_is_asked_without_setting_a_variable(
    services: Services, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "LOCAL_SERVICES", state / "services.json")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    prefix, out = f"s3://{services.settings.data_bucket}/images/7/", io.StringIO()

    assert predict.main(["digits", prefix, "--json", "--local"], out) == predict.DONE

    labels = [json.loads(line)["label"] for line in out.getvalue().splitlines()]
    assert len(labels) > 100
    assert labels.count("7") / len(labels) > 0.9
