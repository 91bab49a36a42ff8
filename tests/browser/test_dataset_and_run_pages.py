"""The pages of dataset versions, runs and jobs in Airflow's UI, reached by clicking only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from include.datasets.version import DatasetVersion
from include.sagemaker.naming import Run, tags
from include.settings import Settings
from tests.browser.accessibility import flaws_of_page
from tests.browser.conftest import PAGE_MILLISECONDS
from tests.browser.trigger_form import visit
from tests.support.dataset_bucket import RUN_AFTER, Bucket
from tests.support.live_airflow import Operator
from tests.support.local_aws import ALGORITHM_IMAGE, eventually, training_request
from tests.support.world import World, digits

NAME = "numbers"
DAG = "train_model"
RUN = Run(DAG, "manual__2026-01-02T03:04:05+00:00", "training.train/0")

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def versions(world: World) -> list[DatasetVersion]:
    """Two versions of digits: the second has more images, and one that moved to another class."""
    bucket = Bucket(world.s3, world.settings.data_bucket)
    conf = bucket.conf(name=NAME, source=[f"s3://{bucket.name}/{NAME}/"], packing={"resize": 28}, labels=["0", "1"])
    for image in digits("0", "1", "7", count=8):
        bucket.put(f"{NAME}/{image.key}", image.jpeg)
    older = bucket.build(conf, "manual__1")
    for image in digits("1", count=4, first=8):
        bucket.put(f"{NAME}/{image.key}", image.jpeg)
    moved = digits("0", count=1)[0]
    bucket.put(f"{NAME}/1/was-a-zero.jpg", moved.jpeg)
    world.s3.delete_object(Bucket=bucket.name, Key=f"{NAME}/{moved.key}")
    return [older, bucket.build(conf, "manual__2", run_after=RUN_AFTER + timedelta(days=1), parent=older.uri)]


@pytest.fixture(scope="module")
def training(world: World, versions: list[DatasetVersion]) -> Iterator[str]:
    """A job that trains, and prints an epoch's lines every second, until the test is over."""
    settings = Settings.from_variable(world.settings.to_json())
    bucket = settings.data_bucket
    request = training_request(
        "numbers-job",
        ALGORITHM_IMAGE,
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{NAME}/1/"}},
            }
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{settings.output_bucket}/jobs"},
        RoleArn=settings.execution_role_arn,
        HyperParameters={"epochs": "1000", "num_classes": "2"},
        Tags=tags(settings, RUN, versions[-1]),
    )
    world.sagemaker.create_training_job(**request)
    yield "numbers-job"
    world.sagemaker.stop_training_job(TrainingJobName="numbers-job")


@pytest.fixture
def pages(page: Page, airflow: Operator) -> Iterator[FrameLocator]:
    """The frame of Airflow's UI in which the pages stand, opened by its button in the navigation."""
    airflow.wait_for_dag(DAG, 120)
    visit(page, "/")
    page.get_by_role("link", name="Models").click()
    yield page.frame_locator('iframe[title="Models"]')
    visit(page, "/")


def of_dataset(pages: FrameLocator, name: str) -> None:
    """Open one of the dataset's pages from its card."""
    card = pages.get_by_role("region", name=NAME, exact=True)
    card.get_by_role("link", name=name, exact=True).click(timeout=PAGE_MILLISECONDS)


def test_two_versions_are_compared_and_the_images_of_a_class_are_seen(
    versions: list[DatasetVersion], pages: FrameLocator, page: Page
) -> None:
    older, newer = (version.version for version in versions)
    of_dataset(pages, "Dataset versions")
    expect(pages.get_by_role("img", name="Images by version")).to_be_visible(timeout=PAGE_MILLISECONDS)
    compare = pages.get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    for version in (older, newer):
        pages.get_by_role("checkbox", name=f"Compare version {version}").check()
    compare.click()

    counts = pages.get_by_role("region", name="Counts")
    expect(counts).to_contain_text("1 relabelled", timeout=PAGE_MILLISECONDS, use_inner_text=True)
    expect(counts).to_contain_text("4 images added", use_inner_text=True)
    changed = pages.get_by_role("region", name="Changes of labels")
    expect(changed.get_by_role("row", name="0 1 1", exact=True)).to_be_visible()

    frame = page.frames[1]  # after Airflow's own
    comparison = frame.url
    pages.get_by_role("heading", level=2).get_by_role("link", name=newer).click()
    expect(pages.get_by_role("heading", name="Classes that were left out")).to_be_visible(timeout=PAGE_MILLISECONDS)
    expect(pages.get_by_role("row", name="7 8", exact=True)).to_be_visible()
    pages.get_by_role("rowheader", name="1", exact=True).get_by_role("link").click()
    expect(pages.get_by_role("heading", name="Images of 1")).to_be_visible(timeout=PAGE_MILLISECONDS)
    pages.get_by_role("link", name="test", exact=True).click()
    images = pages.get_by_role("img", name="1, test")
    expect(images).to_have_count(versions[-1].class_counts["1"].test, timeout=PAGE_MILLISECONDS)

    alone = page.context.new_page()
    assert [flaw for address in (comparison, frame.url) for flaw in flaws_of_page(alone, address)] == []
    alone.close()


def test_the_curves_of_a_run_grow_while_one_looks(training: str, pages: FrameLocator) -> None:
    of_dataset(pages, "Runs and jobs")
    row = pages.get_by_role("row").filter(has_text=training)
    expect(row).to_contain_text("InProgress", timeout=PAGE_MILLISECONDS)
    row.get_by_role("link", name="its run").click()
    points = pages.locator("svg.chart circle")
    expect(points.first).to_be_attached(timeout=PAGE_MILLISECONDS)
    before = points.count()

    eventually(lambda: points.count() > before, seconds=60, pause=0.5)

    leaderboard = pages.get_by_role("region", name="Leaderboard")
    expect(leaderboard.get_by_role("row").filter(has_text="trial 1")).to_contain_text("of 1000")
    leaderboard.get_by_role("link", name="trial 1").click()
    expect(pages.get_by_role("heading", name=training)).to_be_visible(timeout=PAGE_MILLISECONDS)
