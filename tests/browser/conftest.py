from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from demo.services import Services, down, up
from tests.browser.trigger_form import DAG_ID
from tests.support.live_airflow import Operator
from tests.support.ports import free_port

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium")
    if not found:
        reason = "Chromium is not installed (Debian, Ubuntu: apt-get install chromium)."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return str(found)


@pytest.fixture(scope="module")
def services(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """An Airflow and a local AWS of the module's own: they leave the machine to the tests of other files."""
    state = tmp_path_factory.mktemp("services")
    yield up(state, free_port(), free_port(), print)
    down(state, print)


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def switched_on(services: Services) -> Operator:
    client = Operator(services.airflow_url, services.user, services.password)
    client.wait_for_dag(DAG_ID, 120)
    client.unpause(DAG_ID)
    return client


@pytest.fixture
def airflow(switched_on: Operator) -> Iterator[Operator]:
    """The Airflow to look into; no run of a test goes on into the next."""
    yield switched_on
    for run in switched_on.dag_runs(DAG_ID):
        switched_on.finished(DAG_ID, run.run_id)


@pytest.fixture
def form(page: Page, services: Services, airflow: Operator) -> Locator:
    """The trigger form, opened by somebody who has signed in."""
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
