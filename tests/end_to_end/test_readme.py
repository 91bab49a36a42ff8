"""What the README and its first pages show: the demo, and the commands as they stand there."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cv2
import pytest

from demo.airflow_client import DagRun
from demo.bootstrap import client_config
from demo.services import Services
from include.deployment import predict
from tests.support.airflow_commands import THEN
from tests.support.demos import UNHURRIED, run_target
from tests.support.live_airflow import Operator
from tests.support.pictures import pixels
from tests.support.ports import free_port
from tests.unit.docs.commands import FIRST_RUN, README, ROOT, commands_of, shown, terminals_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.enable_socket, pytest.mark.timeout(1800)]

DAG_ID = "image_classification"
CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
IMAGES = 60
"""As few photographs as the README asks for."""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(scope="module")
def printed(state: Path) -> Iterator[str]:
    """What `make demo` prints once the environments are there; `make down` ends its services."""
    (start,), (end,) = shown("make demo"), shown("make down")
    try:
        ports = {"PORT": str(free_port()), "AIRFLOW_PORT": str(free_port())}
        yield run_target(start.words, state, pace=UNHURRIED, **ports)
    finally:
        run_target(end.words, state)


@pytest.fixture(scope="module")
def services(printed: str, state: Path) -> Services:
    services = Services.read(state)
    assert services is not None, printed
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
    """The output of a page's line in a shell, with the test's folders and files in it."""
    line = command.replace(".local/run", str(state / "run")).replace("FOLDER", f"'{folder}'")
    line = line.replace("PHOTO.jpg", f"'{folder / 'rose' / 'IMG_0000.JPG'}'")
    ended = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
    return ended.stdout


def own(folder: Path) -> dict[str, str]:
    """The variables of a shell that has an Airflow and an AWS of its own, as a person's may have."""
    return {"AIRFLOW_HOME": str(folder / "other"), "AWS_PROFILE": "mine", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def flowers(airflow: Operator, state: Path, folder: Path) -> DagRun:
    """The run of a folder of photographs, by the commands as they are written."""
    commands = [
        *shown(".local/run python -m include.datasets.upload *"),
        *shown(".local/run airflow dags unpause image_classification"),
        *shown(".local/run airflow dags trigger image_classification --conf $(cat demo/photographs.json)"),
    ]
    of_the_readme = [command for command in commands_of(README) if command.startswith(".local/run ")]
    assert [command.line for command in commands] == of_the_readme[:-1]
    runs = {each.run_id for each in airflow.dag_runs(DAG_ID)}

    for command in commands:
        run(command.line, state, folder, **own(folder))

    (started,) = [each for each in airflow.dag_runs(DAG_ID) if each.run_id not in runs]
    return airflow.finished(DAG_ID, started.run_id)


def test_the_demo_shows_what_the_readme_says(printed: str, state: Path) -> None:
    """Figures differ from run to run; stages, kinds of jobs and the names of figures do not."""
    (figures_shown, *_), (stages_shown, _) = terminals_of(README), terminals_of(FIRST_RUN)
    stages = re.findall(r"^  (\w+) +success ", stages_shown, re.MULTILINE)
    figures = re.findall(r"^  ([A-Z][a-z]+(?: [a-z]+)?)  ", figures_shown, re.MULTILINE)
    assert (len(stages), len(figures)) == (7, 10)
    assert figures_shown in stages_shown

    for stage in stages:
        assert f"] {stage}: success (" in printed
    for figure in figures:
        assert re.search(rf"^ *{figure} {{2}}", printed, re.MULTILINE), printed
    summary = json.loads((state / "demo-summary.json").read_text())
    assert f"{summary['test_accuracy']:.4f}" in printed
    assert summary["test_accuracy"] > 0.9
    assert "<h2" in (state / "demo-dataset.html").read_text()


def test_a_folder_of_photographs_becomes_a_prediction_by_the_commands_as_written(
    services: Services, s3: Any, state: Path, folder: Path, flowers: DagRun
) -> None:
    (predict_photo,) = shown(".local/run python -m include.deployment.predict *")

    assert flowers.state == "success"
    assert len(s3.list_objects_v2(Bucket=services.settings.data_bucket, Prefix="flowers/")["Contents"]) == IMAGES
    assert re.search(r"IMG_0000\.JPG +rose ", run(predict_photo.line, state, folder, **own(folder)))


def test_files_and_folders_are_asked_about_as_the_page_shows(
    services: Services, folder: Path, flowers: DagRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = shown(".venv/bin/python -m include.deployment.predict *")
    rose, photos, *_ = command.words[4:]
    (tmp_path / photos).mkdir()
    photograph = cv2.imread(str(folder / "rose" / "IMG_0000.JPG"))
    (tmp_path / rose).write_bytes(cv2.imencode(Path(rose).suffix, photograph)[1].tobytes())
    shutil.copy(folder / "tulip" / "IMG_0001.JPG", tmp_path / photos / "a.jpg")
    monkeypatch.chdir(tmp_path)
    variables = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**variables, "AWS_ENDPOINT_URL": services.aws_url}.items():
        monkeypatch.setenv(name, value)
    out = io.StringIO()

    assert predict.main(command.words[3:], out) == predict.DONE

    _, *rows = out.getvalue().splitlines()
    assert [row.split()[:2] for row in rows[::2]] == [[rose, "rose"], [f"{photos}a.jpg", "tulip"]], rows
    assert [row.split()[0] for row in rows[1::2]] == ["tulip", "rose"], rows


def test_the_services_are_there_already_for_who_starts_them_again(services: Services, state: Path) -> None:
    (command,) = shown("make local")

    said = run_target(command.words, state)

    assert "run already" in said
    assert services.sign_in_hint() in said


def test_the_other_commands_reach_the_airflow_that_runs(airflow: Operator, state: Path, folder: Path) -> None:
    """What they start is not theirs to finish: the tests of the DAGs do that."""
    (listing,) = shown(".local/run airflow dags list")
    (unpausing,) = shown(".local/run airflow dags unpause predict_images")
    triggers = [
        *shown(".local/run airflow dags trigger predict_images *"),
        *shown(".local/run airflow dags trigger image_classification --conf $(cat docs/*)"),
        *shown("airflow dags trigger evaluate_endpoint *"),
    ]
    dags = [command.words[command.words.index("trigger") + 1] for command in triggers]
    for dag in dags:
        airflow.wait_for_dag(dag, 120)
    runs = {each.run_id for dag in dags for each in airflow.dag_runs(dag)}

    lines = [command.line.removeprefix(".local/run ") for command in (unpausing, *triggers, listing)]
    listed = run(f".local/run python -m tests.support.airflow_commands {f' {THEN} '.join(lines)}", state, folder)

    paused = dict(re.findall(r"^(\w+) +\|.*\| (True|False) +\|", listed, re.MULTILINE))
    assert paused.keys() == {file.stem for file in (ROOT / "dags").glob("[a-z]*.py")}
    assert paused["predict_images"] == "False"
    for dag, command in zip(dags, triggers, strict=True):
        (started,) = [each for each in airflow.dag_runs(dag) if each.run_id not in runs]
        airflow.abandon(dag, started.run_id)
        conf = re.sub(r"^\$\(cat (.*)\)$", lambda file: (ROOT / file[1]).read_text(), command.words[-1])
        assert started.conf == json.loads(conf)


def test_a_folder_goes_up_to_the_aws_of_ones_own_credentials(
    services: Services, s3: Any, state: Path, folder: Path
) -> None:
    (command,) = shown(".venv/bin/python -m include.datasets.upload *")
    s3.create_bucket(Bucket="my-bucket")
    variables = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}

    run(command.line, state, folder, AWS_ENDPOINT_URL=services.aws_url, **variables)

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
