"""What a person does in Airflow's UI: goes to a page, and fills a trigger form."""

from __future__ import annotations

import time
from contextlib import suppress

from playwright.sync_api import Locator, Page, expect

from demo.airflow_client import AirflowClient, DagRun

DAG_ID = "image_classification"
FIELD_SECONDS = 30.0

FOLLOW_LINK = "path => {history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate', {state: {}}))}"
"""What a click on a link of the UI's own does: the page stays, its router shows another view."""

WITHOUT_BUTTONS = "/plugins"
"""A page that starts nothing: every DAG of a list has a button `Trigger` too."""


def visit(page: Page, path: str) -> None:
    """Go to a page of the Airflow that a page shows, without loading the whole UI again, which costs 3 s of CPU."""
    page.evaluate(FOLLOW_LINK, path)


def opened_form(page: Page, dag_id: str) -> Locator:
    """The trigger form of a DAG, opened by somebody who has signed in; no other form stays open."""
    visit(page, WITHOUT_BUTTONS)
    expect(page.get_by_role("button", name="Trigger")).to_have_count(0)
    visit(page, f"/dags/{dag_id}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has_text="Trigger Dag")
    expect(form.get_by_role("button", name="Trigger")).to_be_enabled()
    return form


def open_section(form: Locator, title: str) -> None:
    form.get_by_role("button", name=title, exact=True).click()


def field_of(form: Locator, name: str) -> Locator:
    return form.locator(f'[name="element_{name}"], [id="element_{name}"]').first


def enter(form: Locator, name: str, text: str) -> None:
    """Put a text in the place of what a field shows, and leave the field: only then it shows what the form has taken.

    A form that is still being built shows a text without having taken it.
    """
    field = field_of(form, name)
    deadline = time.monotonic() + FIELD_SECONDS
    while True:
        field.fill(text)
        field.press("Tab")
        with suppress(AssertionError):
            expect(field).to_have_value(text, timeout=1000)
            return
        assert time.monotonic() < deadline, f"{name} shows {field.input_value()!r}, not {text!r}"


def choose(form: Locator, name: str, option: str) -> None:
    """Choose from a field's list."""
    field_of(form, name).click()
    form.page.get_by_role("option", name=option, exact=True).click()


def trigger(form: Locator, airflow: AirflowClient, dag_id: str = DAG_ID) -> DagRun:
    """Send the form and wait for the run that it starts, and for the page of that run."""
    known = {run.run_id for run in airflow.dag_runs(dag_id)}
    form.get_by_role("button", name="Trigger").click()
    form.page.wait_for_url(lambda url: "/runs/" in url)
    (run,) = [run for run in airflow.dag_runs(dag_id) if run.run_id not in known]
    return run
