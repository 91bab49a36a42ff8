"""The page "New run" in Airflow's UI: a mistake, its correction, and the run that starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect

from include.run_conf import RunConf
from tests.browser.trigger_form import DAG_ID, visit
from tests.support.live_airflow import Operator
from tests.support.world import World, digits

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
CHECK_MILLISECONDS = 120_000.0

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture
def new_run(page: Page, airflow: Operator, world: World) -> Iterator[FrameLocator]:
    """The frame of Airflow's UI in which the page stands, opened from the navigation."""
    world.drop(digits("0", "1", count=20))
    visit(page, "/")
    page.get_by_role("link", name="Models").click()
    frame = page.frame_locator('iframe[title="Models"]')
    frame.get_by_role("link", name="New run").first.click()
    expect(frame.get_by_role("heading", name="New run")).to_be_visible()
    yield frame
    visit(page, "/")


def field(frame: FrameLocator, name: str) -> Locator:
    return frame.locator(f'[id="field-{name}"]')


def test_a_mistake_is_shown_at_its_field_corrected_and_the_run_started(
    new_run: FrameLocator, page: Page, airflow: Operator
) -> None:
    rate = "training.hyperparameters.learning_rate"
    before = {run.run_id for run in airflow.dag_runs(DAG_ID)}
    field(new_run, "preset").select_option("digits")
    field(new_run, "dataset.name").fill("two digits")
    field(new_run, "dataset.labels").fill("0\n\n1\n")
    field(new_run, rate).fill("0,05")
    field(new_run, rate).press("Tab")

    error = new_run.locator(f'[id="error-{rate}"]')
    expect(error).to_contain_text("did you mean 0.05?")
    expect(field(new_run, rate)).to_have_attribute("aria-invalid", "true")
    expect(field(new_run, "training.hyperparameters.num_layers")).to_contain_text("20 (preset digits)")
    field(new_run, "endpoint.deploy").select_option(label="off")

    check, start = (new_run.get_by_role("button", name=name) for name in ("Check, start nothing", "Start the run"))
    check.click()
    problems = new_run.get_by_role("region", name="2 problems. Nothing was started.")
    expect(problems).to_be_focused(timeout=CHECK_MILLISECONDS)
    expect(start).to_be_disabled()
    assert {run.run_id for run in airflow.dag_runs(DAG_ID)} == before
    keep(page, "ui-new-run-mistake.png")

    problems.get_by_role("link", name="dataset.name").press("Enter")
    expect(field(new_run, "dataset.name")).to_be_focused()
    expect(field(new_run, "dataset.name")).to_have_value("two digits")
    page.keyboard.press("Control+A")
    page.keyboard.type("two-digits")
    field(new_run, rate).fill("0.05")
    check.click()
    expect(start).to_be_enabled(timeout=CHECK_MILLISECONDS)
    expect(new_run.get_by_text("become a new version of two-digits.")).to_be_visible()
    new_run.get_by_role("heading", name="New run").scroll_into_view_if_needed()
    keep(page, "ui-new-run.png")
    page.evaluate("localStorage.setItem('theme', 'dark'); document.documentElement.className = 'dark'")
    keep(page, "ui-new-run-dark.png")
    page.evaluate("localStorage.setItem('theme', 'light'); document.documentElement.className = 'light'")

    start.press("Enter")
    expect(new_run.get_by_role("complementary").get_by_text(f"{DAG_ID} is started: ")).to_be_visible()
    (run,) = [run for run in airflow.dag_runs(DAG_ID) if run.run_id not in before]
    assert RunConf.from_conf(run.conf) == RunConf.from_conf(
        {
            "preset": "digits",
            "dataset.name": "two-digits",
            "dataset.labels": ["0", "1"],
            rate: 0.05,
            "endpoint.deploy": False,
        }
    )
    new_run.get_by_role("link", name=run.run_id).click()
    page.wait_for_url(lambda url: f"/dags/{DAG_ID}/runs/" in url)


def test_a_field_among_a_hundred_is_found(new_run: FrameLocator) -> None:
    expect(field(new_run, "resources.spot")).to_be_hidden()

    new_run.get_by_label("Find a field").fill("spot")

    expect(field(new_run, "resources.spot")).to_be_visible()
    expect(field(new_run, "dataset.name")).to_be_hidden()


def keep(page: Page, name: str) -> None:
    """Renew a picture of the documentation, where that is asked for."""
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=IMAGES / name)
