"""A run started from the form, and its training task while it waits: the job's own log, and the links to its pages."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import pytest
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from demo.airflow_client import AirflowClient, AirflowError, TaskRun
from demo.bootstrap import IMAGES_PREFIX, client_config
from demo.images import digit_images, upload
from demo.services import Services
from include.run_conf import RunConf
from include.training.naming import job_name
from tests.browser.test_trigger_form import airflow, form, newest_run, open_section  # noqa: F401

DAG_ID = "image_classification"
LABELS = ("0", "1", "7")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
TRAIN = "training.train"
START_SECONDS = 300.0
LOG_SECONDS = 120_000.0
LOOK_MILLISECONDS = 8_000.0

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture
def images(services: Services) -> None:
    """The sample images of three more digits than the run asks for."""
    s3 = boto3.client(
        "s3",
        endpoint_url=services.aws_url,
        region_name=services.settings.region,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=client_config(),
    )
    wanted = [image for image in digit_images() if image.key.startswith(tuple(f"{label}/" for label in (*LABELS, "3")))]
    upload(s3, services.settings.data_bucket, IMAGES_PREFIX, wanted)


@pytest.fixture
def run_id(form: Locator, airflow: AirflowClient, images: None, services: Services) -> Iterator[str]:  # noqa: F811
    """A run that trains and tunes with three labels, started as a person starts it; it ends with the test."""
    known = airflow.dag_runs(DAG_ID)
    open_section(form, "Dataset")
    field_of(form, "dataset.name").fill("three-digits")
    field_of(form, "dataset.labels").fill("\n".join(LABELS))
    open_section(form, "Dataset: packing")
    field_of(form, "dataset.packing.resize").fill("28")
    open_section(form, "Training")
    choose(form, "training.mode", "both")
    open_section(form, "Training: hyperparameters")
    choose(form, "training.hyperparameters.num_layers", "20")
    for name, value in {"image_shape": "3,28,28", "mini_batch_size": "32", "epochs": "300"}.items():
        field_of(form, f"training.hyperparameters.{name}").fill(value)
    open_section(form, "Tuning")
    field_of(form, "tuning.max_parallel_jobs").fill("1")  # the local AWS runs as many jobs at once as there are cores
    form.get_by_role("button", name="Trigger").click()
    run = newest_run(airflow, known)
    asked = RunConf.from_conf(run.conf)
    assert asked.dataset.labels == list(LABELS)
    assert asked.training.mode == "both"
    yield run.run_id
    airflow._call("PATCH", f"/api/v2/dags/{DAG_ID}/dagRuns/{run.run_id}", json={"state": "failed"})


def field_of(form: Locator, name: str) -> Locator:  # noqa: F811
    return form.locator(f'[name="element_{name}"], [id="element_{name}"]').first


def choose(form: Locator, name: str, option: str) -> None:  # noqa: F811
    """Choose from a field's list."""
    field_of(form, name).click()
    form.page.get_by_role("option", name=option, exact=True).click()


def keep(page: Page, name: str) -> None:
    """Renew a picture of the documentation, where that is asked for."""
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=IMAGES / name)


def test_a_waiting_task_shows_its_jobs_own_log_and_leads_to_its_pages(
    run_id: str,
    page: Page,
    services: Services,
    airflow: AirflowClient,  # noqa: F811
) -> None:
    wait_until_deferred(airflow, run_id, TRAIN)
    page.set_viewport_size({"width": 1640, "height": 980})
    task = f"{services.airflow_url}/dags/{DAG_ID}/runs/{run_id}/tasks/{TRAIN}/mapped/0"

    page.goto(task)
    expect(page.get_by_text("Deferred").first).to_be_visible(timeout=LOG_SECONDS)
    find_in_log(page, re.compile(r"Epoch\[\d+\] Validation-accuracy="))
    summary = re.compile(r"==> epoch \d+ of 300, train accuracy .*, validation accuracy .* left, \d+ s billable so far")
    find_in_log(page, summary)
    keep(page, "live-log.png")

    page.goto(f"{task}/details")
    job = job_name(dag_id=DAG_ID, run_id=run_id, task_id=TRAIN, map_index=0)
    for name in ("SageMaker console", "CloudWatch logs"):
        link = page.get_by_role("link", name=name)
        expect(link).to_be_visible(timeout=LOG_SECONDS)
        address = str(link.get_attribute("href"))
        assert address.startswith("https://us-east-1.console.aws.amazon.com/")
        assert job in address
    keep(page, "task-links.png")


def find_in_log(page: Page, line: re.Pattern[str]) -> None:
    """Open the log anew until a line is in view: the page shows the end of a log when it opens, and may stay there."""
    deadline = time.monotonic() + LOG_SECONDS / 1000
    found = page.get_by_text(line).last
    while not found.is_visible():
        assert time.monotonic() < deadline, page.locator("code").first.inner_text()
        page.reload()
        with suppress(PlaywrightTimeoutError):
            found.wait_for(timeout=LOOK_MILLISECONDS)


def wait_until_deferred(airflow: AirflowClient, run_id: str, task_id: str) -> None:  # noqa: F811
    """Look once a second: training, browser and Airflow share the machine."""
    deadline = time.monotonic() + START_SECONDS
    tasks: list[TaskRun] = []
    while not any(task.task_id == task_id and task.state == "deferred" for task in tasks):
        assert time.monotonic() < deadline, tasks
        assert all(task.state not in ("failed", "upstream_failed") for task in tasks), tasks
        time.sleep(1)
        with suppress(AirflowError):
            tasks = airflow.task_runs(DAG_ID, run_id)
