from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from demo.services import USER
from tests.browser.trigger_form import DAG_ID, opened_form
from tests.support.airflow_home import migrated_database
from tests.support.boto_definitions import read_definitions_once
from tests.support.gated_algorithm import PACE
from tests.support.live_airflow import PASSWORD, LiveAirflow, Operator
from tests.support.world import World, running_world

read_definitions_once()


CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

ALGORITHM = Path(__file__).parents[1] / "support" / "patient_means.py"
VIEWER = "guest"
DAGS = (DAG_ID, "retrain_on_new_images", "train_model", "review_model", "deploy_endpoint", "predict_images")
REFRESH_SECONDS = "10"
"""How often Airflow's pages ask for what a run does: 3 s by default, and each time they are drawn anew."""
PAGE_MILLISECONDS = 60_000.0
EXPECTED_MILLISECONDS = 30_000.0
"""How long a test waits for what it expects: other tests, Airflow and Chromium share the machine."""
expect.set_options(timeout=EXPECTED_MILLISECONDS)
STILL = """
addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, *::before, *::after {animation: none !important; transition: none !important}";
  document.head.append(style);
});
"""
"""Nothing moves: without a graphics processor Chromium draws whatever turns or pulses 60 times a second."""
VIEWPORT: ViewportSize = {"width": 1400, "height": 1000}


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium")
    if not found:
        reason = "Chromium is not installed (Debian, Ubuntu: apt-get install chromium)."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return str(found)


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A local AWS for all tests in a browser: jobs learn in a moment, those of many epochs until they are stopped."""
    state = tmp_path_factory.mktemp("world")
    gates = state / "gates"
    gates.mkdir()
    (gates / PACE).write_text("1")
    image = f"image-classification={sys.executable} {ALGORITHM} {gates}"
    with running_world(state / "aws", "--image", image) as world:
        yield world


@pytest.fixture(scope="package")
def installation(chromium: str, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    own = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{VIEWER}:viewer",
        "AIRFLOW__API__AUTO_REFRESH_INTERVAL": REFRESH_SECONDS,
    }
    state, database = tmp_path_factory.mktemp("airflow"), migrated_database(tmp_path_factory)
    airflow = LiveAirflow(state, world, database, dags=DAGS, **own)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.end()


@pytest.fixture(scope="package")
def switched_on(installation: LiveAirflow) -> Iterator[Operator]:
    with installation.operator() as operator:
        operator.wait_for_dag(DAG_ID, 120)
        operator.unpause(DAG_ID)
        yield operator


@pytest.fixture
def airflow(switched_on: Operator) -> Iterator[Operator]:
    """The Airflow to look into; no run of a test is left to the next."""
    yield switched_on
    for run in switched_on.dag_runs(DAG_ID):
        if not run.is_over:
            switched_on.abandon(DAG_ID, run.run_id)


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def signed_in(browser: Browser, installation: LiveAirflow, switched_on: Operator) -> Iterator[Page]:
    """The one page of a person who has signed in: loading the UI costs far more than what a test does with it."""
    with page_of_its_own(browser) as page:
        page.goto(installation.url)
        page.get_by_label("Username").fill(USER)
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "login" not in url)
        yield page


@contextmanager
def page_of_its_own(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has no cookies yet."""
    context = browser.new_context(viewport=VIEWPORT)
    context.add_init_script(STILL)
    page = context.new_page()
    page.set_default_timeout(PAGE_MILLISECONDS)
    yield page
    context.close()


def let_in(user: str, page: Page, installation: LiveAirflow) -> None:
    """Sign in without Airflow's page for it, which loads the whole UI afterwards."""
    asked = {"username": user, "password": PASSWORD}
    token = httpx.post(f"{installation.url}/auth/token", json=asked, trust_env=False).raise_for_status().json()
    page.context.add_cookies([{"name": "_token", "value": token["access_token"], "url": installation.url}])


@pytest.fixture
def page(signed_in: Page) -> Page:
    """The page, as large as it is at first, where the test before left it."""
    signed_in.set_viewport_size(VIEWPORT)
    return signed_in


@pytest.fixture
def form(page: Page, airflow: Operator) -> Locator:
    """The trigger form, opened by somebody who has signed in."""
    return opened_form(page, DAG_ID)
