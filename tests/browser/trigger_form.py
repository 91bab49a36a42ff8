"""What a person does with the trigger form of `image_classification`."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Locator

from demo.airflow_client import AirflowClient, DagRun

DAG_ID = "image_classification"
RUN_SECONDS = 60.0


def open_section(form: Locator, title: str) -> None:
    form.get_by_role("button", name=title, exact=True).click()


def field_of(form: Locator, name: str) -> Locator:
    return form.locator(f'[name="element_{name}"], [id="element_{name}"]').first


def choose(form: Locator, name: str, option: str) -> None:
    """Choose from a field's list."""
    field_of(form, name).click()
    form.page.get_by_role("option", name=option, exact=True).click()


def trigger(form: Locator, airflow: AirflowClient) -> DagRun:
    """Send the form and wait for the run that it starts."""
    known = {run.run_id for run in airflow.dag_runs(DAG_ID)}
    form.get_by_role("button", name="Trigger").click()
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        new = [run for run in airflow.dag_runs(DAG_ID) if run.run_id not in known]
        if new:
            return new[0]
        time.sleep(0.2)
    pytest.fail("No run appeared.")
