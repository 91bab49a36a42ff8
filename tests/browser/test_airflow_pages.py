"""Airflow's pages in a real browser, used as an engineer uses them: the trigger form, a waiting task, a wrong conf."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from demo.airflow_client import AirflowError, TaskRun
from include.run_conf import PRESETS, RunConf, form_fields
from include.sagemaker.naming import Run, job_name
from tests.browser.trigger_form import DAG_ID, choose, enter, field_of, open_section, opened_form, trigger, visit
from tests.support.live_airflow import PAUSE, Operator
from tests.support.local_aws import eventually
from tests.support.world import World, digits

LABELS = ("0", "1", "7")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
TRAIN = "training.train"
RETRAINING = "retrain_on_new_images"
START_SECONDS = 300.0
LOG_MILLISECONDS = 120_000.0
LOOK_MILLISECONDS = 8_000.0

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


def test_the_form_shows_every_section_and_field_of_the_run_conf(form: Locator) -> None:
    fields = form_fields(RunConf)
    for section in dict.fromkeys(field.section for field in fields):
        expect(form.get_by_role("button", name=section, exact=True)).to_be_visible()
    for name in [field.name for field in fields]:
        assert form.locator(f'[name="element_{name}"], [id="element_{name}"]').count(), name

    open_section(form, "Common")

    expect(form.get_by_text("Depth of the residual network")).to_be_visible()
    expect(form.get_by_text("no preset: the defaults")).to_be_visible()
    expect(form.get_by_text("Initial learning rate.")).to_contain_text("Empty: algorithm's default (0.1)")
    expect(field_of(form, "dataset.labels")).to_have_value("")
    keep(form.page, "trigger-form.png")


def test_a_changed_form_starts_a_run_with_what_was_entered(form: Locator, page: Page, airflow: Operator) -> None:
    open_section(form, "Common")
    choose(form, "preset", f"digits: {PRESETS['digits']}")
    enter(form, "dataset.name", "birds")
    enter(form, "training.hyperparameters.epochs", "7")
    choose(form, "endpoint.deploy", "off")

    run = trigger(form, airflow)

    expect(page.get_by_text(run.run_id).first).to_be_visible()
    asked = RunConf.from_conf(run.conf)
    assert asked == RunConf.from_conf(
        {
            "preset": "digits",
            "dataset.name": "birds",
            "training.hyperparameters.epochs": 7,
            "endpoint.deploy": False,
        }
    )


def test_a_form_changes_of_a_retraining_only_what_was_entered(page: Page, airflow: Operator) -> None:
    airflow.wait_for_dag(RETRAINING, 120)
    untouched = trigger(opened_form(page, RETRAINING), airflow, RETRAINING)
    form = opened_form(page, RETRAINING)
    open_section(form, "Endpoint")
    enter(form, "endpoint.instance_count", "2")
    touched = trigger(form, airflow, RETRAINING)

    sent = [RunConf.read_changes(run.conf) for run in (untouched, touched)]

    assert [problems for _, problems in sent] == [[], []]
    assert [changes.model_dump(exclude_unset=True) for changes, _ in sent] == [{}, {"endpoint": {"instance_count": 2}}]


TYPED = {
    "Common": {
        "dataset.name": "n" * 60,
        "dataset.labels": "0\n\n1\n",
        "dataset.source": "s3://bucket/digits/",
        "training.hyperparameters.learning_rate": "3",
        "training.hyperparameters.image_shape": "28x28",
    },
    "Training: hyperparameters": {
        "training.hyperparameters.weight_decay": "0,001",
        "training.hyperparameters.eps": "1e-8",
        "training.hyperparameters.lr_scheduler_step": "2, 4",
    },
    "Tuning": {"tuning.max_jobs": "0"},
}


def test_the_form_sends_what_was_typed_and_the_first_task_judges_it(form: Locator, airflow: Operator) -> None:
    for section, fields in TYPED.items():
        open_section(form, section)
        for name, text in fields.items():
            enter(form, name, text)

    sent = trigger(form, airflow).conf

    typed = {name: text for fields in TYPED.values() for name, text in fields.items()}
    lists = {name: typed[name].split("\n") for name in ("dataset.labels", "dataset.source")}
    assert {name: value for name, value in sent.items() if value is not None} == typed | lists
    read, problems = RunConf.read(sent)
    assert read.dataset.labels == ["0", "1"]
    assert read.dataset.source == ["s3://bucket/digits/"]
    assert read.training.hyperparameters.eps == 1e-8
    assert read.training.hyperparameters.lr_scheduler_step == "2,4"
    assert {problem.field for problem in problems} == {
        "dataset.name",
        "training.hyperparameters.learning_rate",
        "training.hyperparameters.weight_decay",
        "training.hyperparameters.image_shape",
        "tuning.max_jobs",
    }


def test_what_is_wrong_is_named_on_the_page_of_the_run(form: Locator, page: Page, airflow: Operator) -> None:
    open_section(form, "Common")
    enter(form, "dataset.name", "two words")
    run = airflow.finished(DAG_ID, trigger(form, airflow).run_id)

    visit(page, f"/dags/{DAG_ID}/runs/{run.run_id}/tasks/check_conf")

    assert run.state == "failed"
    expect(page.get_by_text("dataset.name").and_(page.get_by_text("two words")).first).to_be_visible()


@pytest.fixture
def images(world: World) -> None:
    """Sample images of the digits that the run asks for, and of one more."""
    world.drop(digits(*LABELS, "3", count=40))


@pytest.fixture
def run_id(form: Locator, airflow: Operator, images: None) -> Iterator[str]:
    """A run that trains and tunes with three labels, started as a person starts it; it ends with the test."""
    open_section(form, "Common")
    enter(form, "dataset.name", "three-digits")
    enter(form, "dataset.labels", "\n".join(LABELS))
    choose(form, "training.mode", "both")
    choose(form, "training.hyperparameters.num_layers", "20")
    for name, value in {"image_shape": "3,28,28", "epochs": "300"}.items():
        enter(form, f"training.hyperparameters.{name}", value)
    open_section(form, "Dataset: packing")
    enter(form, "dataset.packing.resize", "28")
    open_section(form, "Training: hyperparameters")
    enter(form, "training.hyperparameters.mini_batch_size", "8")
    open_section(form, "Tuning")
    enter(form, "tuning.max_parallel_jobs", "1")  # the local AWS runs as many jobs at once as there are cores
    run = trigger(form, airflow)
    asked = RunConf.from_conf(run.conf)
    assert asked.dataset.labels == list(LABELS)
    assert asked.training.mode == "both"
    yield run.run_id
    airflow.abandon(DAG_ID, run.run_id)


def keep(page: Page, name: str) -> None:
    """Renew a picture of the documentation, where that is asked for."""
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=IMAGES / name)


def test_a_waiting_task_shows_its_jobs_own_log_and_leads_to_its_pages(
    run_id: str,
    page: Page,
    airflow: Operator,
) -> None:
    wait_until_deferred(airflow, run_id, TRAIN)
    epoch = re.compile(r"Epoch\[\d+\] Validation-accuracy=")
    summary = re.compile(r"==> epoch \d+ of 300, train accuracy .*, validation accuracy .* left, \d+ s billable so far")
    wait_for_lines(airflow, run_id, epoch, summary)
    page.set_viewport_size({"width": 1640, "height": 980})
    task = f"/dags/{DAG_ID}/runs/{run_id}/tasks/{TRAIN}/mapped/0"

    visit(page, task)
    expect(page.get_by_text("Deferred").first).to_be_visible(timeout=LOG_MILLISECONDS)
    find_in_log(page, epoch)
    find_in_log(page, summary)
    keep(page, "live-log.png")

    visit(page, f"{task}/details")
    job = job_name(dag_id=DAG_ID, run_id=run_id, task_id=TRAIN, map_index=0)
    for name in ("SageMaker console", "CloudWatch logs"):
        link = page.get_by_role("link", name=name)
        expect(link).to_be_visible(timeout=LOG_MILLISECONDS)
        address = str(link.get_attribute("href"))
        assert "/plugin/image-classification/image-classification/jobs/training_job/" in address
        assert job in address
    reports = page.get_by_role("link", name="Reports")
    assert f"reports/{Run(DAG_ID, run_id).name}/" in str(reports.get_attribute("href"))
    keep(page, "task-links.png")


def wait_for_lines(airflow: Operator, run_id: str, *lines: re.Pattern[str]) -> None:
    """Wait until the log of the training task has such lines: opening its page costs far more than asking for it."""

    def has_all() -> bool:
        log = "\n".join(airflow.log_lines(DAG_ID, run_id, airflow.task(DAG_ID, run_id, TRAIN)))
        return all(line.search(log) for line in lines)

    eventually(has_all, LOG_MILLISECONDS / 1000, pause=PAUSE)


def find_in_log(page: Page, line: re.Pattern[str]) -> None:
    """Open the log anew until a line is in view: the page shows the end of a log when it opens, and may stay there."""
    deadline = time.monotonic() + LOG_MILLISECONDS / 1000
    found = page.get_by_text(line).last
    while not found.is_visible():
        assert time.monotonic() < deadline, page.locator("code").first.inner_text()
        page.reload()
        with suppress(PlaywrightTimeoutError):
            found.wait_for(timeout=LOOK_MILLISECONDS)


def wait_until_deferred(airflow: Operator, run_id: str, task_id: str) -> None:
    """Look once a second: training, browser and Airflow share the machine."""
    deadline = time.monotonic() + START_SECONDS
    tasks: list[TaskRun] = []
    while not any(task.task_id == task_id and task.state == "deferred" for task in tasks):
        assert time.monotonic() < deadline, tasks
        failed = {task.task_id: airflow.log_lines(DAG_ID, run_id, task) for task in tasks if task.state == "failed"}
        assert not failed
        time.sleep(1)
        with suppress(AirflowError):
            tasks = airflow.task_runs(DAG_ID, run_id)
