"""The pages of models in Airflow's UI, from the navigation to a decision that has an effect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from include.algorithms.kinds import algorithm_of
from include.deployment.registry import RegisteredModel, decided, register_model
from include.evaluation.metrics import Evaluation
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from include.settings import Settings
from tests.browser.conftest import PAGE_MILLISECONDS
from tests.browser.trigger_form import visit
from tests.support.documents import dataset_version, described_training_job
from tests.support.live_airflow import Operator
from tests.support.world import World

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
REVIEW = "review_model"
RUN = Run("train_model", "manual__2026-01-02T03:04:05+00:00")
REASON = "The new camera's images matter more."
EFFECT_MILLISECONDS = 180_000.0

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture
def waiting(world: World) -> RegisteredModel:
    """A registered version that waits for a person, with its report."""
    settings = Settings.from_variable(world.settings.to_json())
    folder = f"s3://{settings.output_bucket}/{settings.report_prefix(RUN.name)}"
    body = b"<!doctype html><title>Report</title><h1>pets: 90.00% on held-out images</h1>"
    world.s3.put_object(Bucket=settings.output_bucket, Key=f"{settings.report_prefix(RUN.name)}report.html", Body=body)
    uri = f"s3://{settings.data_bucket}/datasets/pets/20260102T030405Z-0a1b2c3d/"
    model = register_model(
        world.sagemaker,
        algorithm=algorithm_of(RunConf(), settings),
        job=JobResult.of_training_job(described_training_job("pets-job")),
        evaluation=Evaluation(
            job="pets-job",
            images=20,
            accuracy=0.9,
            classes={},
            report_uri=f"{folder}report.html",
            metrics_uri=f"{folder}metrics.json",
        ),
        dataset=dataset_version(uri=uri),
        run=RUN,
        waits="It waits for a person.",
    )
    return decided(world.sagemaker, model, "PendingManualApproval", "It waits for a person.")


@pytest.fixture
def pages(page: Page, airflow: Operator) -> Iterator[FrameLocator]:
    """The frame of Airflow's UI in which the pages stand, opened by its button in the navigation."""
    airflow.wait_for_dag(REVIEW, 120)
    visit(page, "/")
    page.get_by_role("link", name="Models").click()
    yield page.frame_locator('iframe[title="Models"]')
    visit(page, "/")


def test_a_waiting_model_is_found_read_about_and_approved_by_clicking_only(
    waiting: RegisteredModel, pages: FrameLocator, page: Page, world: World
) -> None:
    pages.get_by_role("link", name="pets", exact=True).click()
    expect(pages.get_by_role("row", name="Version 1")).to_contain_text("90.00 %", timeout=PAGE_MILLISECONDS)
    keep(page, "models-table.png")
    pages.get_by_role("link", name="Version 1").click()
    expect(pages.get_by_text("waits for approval")).to_be_visible(timeout=PAGE_MILLISECONDS)

    pages.get_by_role("link", name="Report of its evaluation").click()
    report = pages.frame_locator('iframe[title="Evaluation"]')
    expect(report.get_by_role("heading", name="pets: 90.00% on held-out images")).to_be_visible(
        timeout=PAGE_MILLISECONDS
    )
    assert f"reports/{RUN.name}" in page.url, "the address of the page can be sent to somebody"

    page.go_back()
    pages.get_by_role("button", name="Approve").click()
    dialog = pages.get_by_role("dialog")
    expect(dialog).to_contain_text('"decision": "approve"')
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog.get_by_text("is started")).not_to_be_visible()  # the reason is missing
    dialog.get_by_label("Reason").fill(REASON)
    keep(page, "models-approve.png")
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog.get_by_text("review_model is started")).to_be_visible(timeout=PAGE_MILLISECONDS)
    dialog.get_by_role("button", name="Close").click()

    expect(pages.get_by_text("approved", exact=True)).to_be_visible(timeout=EFFECT_MILLISECONDS)
    expect(pages.get_by_text(f"Approved by admin: {REASON}")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    described = world.sagemaker.describe_model_package(ModelPackageName=waiting.arn)
    assert described["ModelApprovalStatus"] == "Approved"


def keep(page: Page, name: str) -> None:
    """Renew a picture of the documentation, where that is asked for."""
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=IMAGES / name)
