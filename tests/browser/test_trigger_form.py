"""The trigger form of `image_classification`, used as an engineer uses it."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator, Page, expect

from demo.airflow_client import AirflowClient, DagRun
from demo.services import Services
from include.run_conf import form_fields

DAG_ID = "image_classification"

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture
def airflow(services: Services) -> AirflowClient:
    client = AirflowClient(services.airflow_url, services.user, services.password)
    client.wait_for_dag(DAG_ID, 120)
    client.unpause(DAG_ID)
    return client


@pytest.fixture
def form(page: Page, services: Services, airflow: AirflowClient) -> Locator:
    page.goto(services.airflow_url)
    page.get_by_label("Username").fill(services.user)
    page.get_by_label("Password").fill(services.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)
    page.goto(f"{services.airflow_url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has_text="Trigger Dag")
    expect(form.get_by_role("button", name="Trigger")).to_be_enabled()
    return form


def field(form: Locator, name: str) -> Locator:
    return form.locator(f'input[name="element_{name}"]').first


def open_section(form: Locator, title: str) -> None:
    form.get_by_role("button", name=title, exact=True).click()


def newest_run(airflow: AirflowClient, known: list[DagRun]) -> DagRun:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        new = [run for run in airflow.dag_runs(DAG_ID) if run.run_id not in {earlier.run_id for earlier in known}]
        if new:
            return new[0]
        time.sleep(0.2)
    pytest.fail("No run appeared.")


def test_the_form_shows_every_section_and_field_of_the_run_conf(form: Locator) -> None:
    fields = form_fields()
    for section in dict.fromkeys(field.section for field in fields):
        expect(form.get_by_role("button", name=section, exact=True)).to_be_visible()
    for name in [field.name for field in fields]:
        assert form.locator(f'[name="element_{name}"], [id="element_{name}"]').count(), name

    open_section(form, "Training: hyperparameters")

    expect(form.get_by_text("Depth of the residual network")).to_be_visible()


def test_a_changed_form_starts_a_run_with_what_was_entered(form: Locator, page: Page, airflow: AirflowClient) -> None:
    known = airflow.dag_runs(DAG_ID)
    open_section(form, "Dataset")
    field(form, "dataset.name").fill("birds")
    open_section(form, "Training: hyperparameters")
    field(form, "training.hyperparameters.epochs").fill("7")
    open_section(form, "Tuning")
    field(form, "tuning.max_jobs").fill("0")  # below its bound of 1: the form corrects it
    field(form, "tuning.max_jobs").press("Tab")
    form.get_by_role("button", name="Trigger").click()

    run = newest_run(airflow, known)

    expect(page.get_by_text(run.run_id).first).to_be_visible()
    assert run.conf["dataset.name"] == "birds"
    assert run.conf["training.hyperparameters.epochs"] == 7
    assert run.conf["tuning.max_jobs"] == 1


def test_what_is_wrong_is_named_on_the_page_of_the_run(
    form: Locator, page: Page, airflow: AirflowClient, services: Services
) -> None:
    known = airflow.dag_runs(DAG_ID)
    open_section(form, "Dataset")
    field(form, "dataset.name").fill("two words")
    form.get_by_role("button", name="Trigger").click()
    run = newest_run(airflow, known)

    page.goto(f"{services.airflow_url}/dags/{DAG_ID}/runs/{run.run_id}/tasks/check_conf")

    message = page.get_by_text("dataset.name").and_(page.get_by_text("two words")).first
    deadline = time.monotonic() + 90
    while not message.is_visible() and time.monotonic() < deadline:
        page.wait_for_timeout(1000)
        page.reload()
    expect(message).to_be_visible()
