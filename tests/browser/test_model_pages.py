"""The pages of models in Airflow's UI, used by clicking only, from the navigation to decisions that have an effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect

from include.catalog.asked_images import Heard, Question, keep_answer, keep_image
from include.deployment.registry import RegisteredModel
from include.run_conf import RunConf
from tests.browser.accessibility import THEMES, flaws, flaws_of_page
from tests.browser.conftest import PAGE_MILLISECONDS, VIEWER, let_in, page_of_its_own
from tests.browser.trigger_form import visit
from tests.support.champions import promote, publish, register
from tests.support.live_airflow import LiveAirflow, Operator
from tests.support.web_server import serve
from tests.support.world import DIGITS, SMALL, World, digits

DAGS = ("review_model", "deploy_endpoint", "train_model", "predict_images")
"""Those that the buttons start. They are switched on by the buttons themselves."""
DATASET = "figures"
CONF = {**SMALL, "dataset.name": DATASET, "dataset.labels": list(DIGITS), "endpoint.capture_percent": 100}
DIVERGES = {"training.hyperparameters.learning_rate": 1.0}
REASON = "The new camera's images matter more."
EFFECT_MILLISECONDS = 300_000.0

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]


@pytest.fixture(scope="package")
def versions(world: World) -> tuple[RegisteredModel, RegisteredModel]:
    """A version that serves, whose requests are captured, and one that waits for a person and is far worse."""
    world.drop(digits(*DIGITS, count=30))
    conf = RunConf.from_conf(CONF)
    data = publish(world, conf)
    first = register(world, conf, version=data)
    second = register(
        world, RunConf.from_conf({**CONF, **DIVERGES}), version=data, job="diverged", waits="It waits for a person."
    )
    promote(world, conf, first)
    return first, second


@pytest.fixture
def pages(page: Page, airflow: Operator, versions: object) -> Iterator[FrameLocator]:
    """The frame of Airflow's UI in which the pages stand, opened by its button in the navigation."""
    for dag in DAGS:
        airflow.wait_for_dag(dag, 120)
    visit(page, "/")
    page.get_by_role("link", name="Models").click()
    yield page.frame_locator('iframe[title="Models"]')
    visit(page, "/")


@pytest.fixture
def something_on_each_page(airflow: Operator, world: World, versions: object) -> None:
    """What the tests of the buttons leave, made here if they did not run: a retraining with reports, a question."""
    output = world.settings.output_bucket
    runs: dict[str, tuple[str, dict[str, Any]]] = {}
    if not any(key.endswith("/leaderboard.html") for key in world.keys(output, "reports/")):
        runs["train_model"] = "retraining", {**CONF, "training.mode": "none", "incremental.from": "1"}
    if not world.keys(output, f"predictions/question-{DATASET}-"):
        question = Question(output, DATASET, "0" * 16)
        (seven,) = digits("7", count=1, first=40)
        world.runtime.invoke_endpoint(EndpointName=DATASET, ContentType="image/jpeg", Body=seven.jpeg)
        name = keep_image(world.s3, question, 0, "seven.jpg", seven.jpeg)
        keep_answer(world.s3, question, name, Heard((("7", 1.0),), 10.0, ""), 1)
        asked = {"model_version": 2, "source": question.images_uri, "output": question.answers_uri(2)}
        runs["predict_images"] = question.run_id(2, "2026-01-02T03:04:05"), {"dataset.name": DATASET, **asked}
    for dag_id, (run_id, conf) in runs.items():
        airflow.wait_for_dag(dag_id, 120)
        airflow.unpause(dag_id)
        airflow.trigger(dag_id, conf, run_id)
    for dag_id, (run_id, _) in runs.items():
        assert airflow.finished(dag_id, run_id).state == "success"


def use(pages: FrameLocator, label: str, reason: str = "") -> None:
    """Use a button of a version's page, and wait until its run is started."""
    pages.get_by_role("button", name=label, exact=True).click()
    dialog = pages.get_by_role("dialog")
    if reason:
        dialog.get_by_role("button", name=label, exact=True).click()
        expect(dialog.get_by_text("is started")).not_to_be_visible()  # the reason is missing
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=label, exact=True).click()
    expect(dialog.get_by_text("is started")).to_be_visible(timeout=PAGE_MILLISECONDS)
    dialog.get_by_role("button", name="Close").click()


def wait_for_runs(pages: FrameLocator) -> None:
    """Wait until the page of a version shows no run of its dataset any more."""
    expect(pages.locator("p.message").filter(has_text="Now:")).to_have_count(0, timeout=EFFECT_MILLISECONDS)


def open_version(pages: FrameLocator, number: int) -> None:
    """Go to the page of a version by the tab of all models."""
    pages.locator(".tabs").get_by_role("link", name="Models", exact=True).click()  # the overview has such links too
    pages.get_by_role("link", name=f"Version {number}").click()
    expect(pages.get_by_role("heading", name=f"Version {number}")).to_be_visible(timeout=PAGE_MILLISECONDS)


def badge(pages: FrameLocator, text: str) -> Locator:
    return pages.get_by_role("heading", level=2).get_by_text(text, exact=True)


def test_a_model_is_approved_deployed_rolled_back_and_rejected(
    versions: tuple[RegisteredModel, RegisteredModel], pages: FrameLocator, page: Page, world: World
) -> None:
    pages.get_by_role("link", name=DATASET, exact=True).click()
    expect(pages.get_by_role("row", name="Version 1")).to_contain_text("serving", timeout=PAGE_MILLISECONDS)
    pages.get_by_role("link", name="Version 2").click()
    expect(badge(pages, "waits for approval")).to_be_visible(timeout=PAGE_MILLISECONDS)
    assert "models/2" in page.url, "the address of the page can be sent to somebody"

    use(pages, "Approve", REASON)
    expect(badge(pages, "approved")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    expect(pages.get_by_text(f"Approved by admin: {REASON}")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    assert approval(world, versions[1]) == "Approved"

    use(pages, "Deploy")
    expect(badge(pages, "serving")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    wait_for_runs(pages)
    open_version(pages, 1)
    use(pages, "Roll back to it")
    expect(badge(pages, "serving")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    wait_for_runs(pages)

    open_version(pages, 2)
    use(pages, "Reject", "It names the first class for every image.")
    expect(badge(pages, "rejected")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    assert approval(world, versions[1]) == "Rejected"


def approval(world: World, model: RegisteredModel) -> str:
    described = world.sagemaker.describe_model_package(ModelPackageName=model.arn)
    return str(described["ModelApprovalStatus"])


def test_a_version_is_retrained_and_compared_with_the_one_that_serves(pages: FrameLocator) -> None:
    pages.get_by_role("link", name=DATASET, exact=True).click()
    open_version(pages, 1)
    use(pages, "Retrain from it")

    pages.locator(".tabs").get_by_role("link", name="Models", exact=True).click()
    expect(pages.get_by_role("row", name="Version 3")).to_contain_text("points", timeout=EFFECT_MILLISECONDS)
    for number in (1, 3):
        pages.get_by_label(f"Compare version {number}").check()
    pages.get_by_role("button", name="Compare 2 versions").click()

    figures = pages.get_by_role("region", name="Figures")
    expect(figures.get_by_role("row", name="On the same")).to_contain_text("%", timeout=PAGE_MILLISECONDS)
    expect(pages.get_by_role("row", name="Version 3 against version 1")).to_contain_text("points")

    open_version(pages, 3)
    pages.get_by_role("link", name="Report of its evaluation").click()
    report = pages.frame_locator('iframe[title="Evaluation"]')
    expect(report.get_by_role("heading", level=1)).to_contain_text(DATASET, timeout=PAGE_MILLISECONDS)
    pages.get_by_role("link", name="Leaderboard", exact=True).click()
    board = pages.frame_locator('iframe[title="Leaderboard"]')
    expect(board.get_by_role("heading", level=1)).to_be_visible(timeout=PAGE_MILLISECONDS)


def test_images_are_answered_by_the_endpoint_and_by_another_version_beside_it(
    pages: FrameLocator, page: Page, world: World
) -> None:
    seven = next(image for image in digits("7", count=1, first=40))
    pages.get_by_role("link", name=DATASET, exact=True).click()
    pages.locator(".tabs").get_by_role("link", name="Endpoint", exact=True).click()
    chosen = {"name": "seven.jpg", "mimeType": "image/jpeg", "buffer": seven.jpeg}
    pages.get_by_label("Drop images here").set_input_files([chosen])  # type: ignore[list-item]
    answer = pages.locator("figure.answer").filter(has_text="seven.jpg")
    expect(answer.get_by_text("version 1, ")).to_be_visible(timeout=PAGE_MILLISECONDS)
    expect(answer.get_by_role("meter").first).to_have_accessible_name("7")

    with serve(seven.jpeg) as server:
        pages.get_by_label("or paste the address").fill(f"{server.url}/of-the-web.jpg")
        pages.get_by_role("button", name="Read it").click()
        fetched = pages.locator("figure.answer").filter(has_text="of-the-web.jpg")
        expect(fetched.get_by_text("version 1, ")).to_be_visible(timeout=PAGE_MILLISECONDS)
        pages.get_by_label("or paste the address").fill("http://169.254.169.254/latest/meta-data/")
        pages.get_by_role("button", name="Read it").click()
        expect(pages.get_by_text("machines read their credentials").first).to_be_visible(timeout=PAGE_MILLISECONDS)

        pages.get_by_role("button", name="Ask another version about these images").click()
        dialog = pages.get_by_role("dialog")
        dialog.get_by_label("Version").select_option("2")
        dialog.get_by_role("button", name="Ask it").click()
        expect(pages.get_by_text("being asked").first).to_be_visible(timeout=PAGE_MILLISECONDS)

    answers = pages.get_by_role("region", name="Answers")
    expect(pages.get_by_text("different classes in 2 of 2 images")).to_be_visible(timeout=EFFECT_MILLISECONDS)
    expect(answers.get_by_role("row", name="seven.jpg").get_by_text("100.00 %")).to_be_visible()

    pages.get_by_role("link", name="Endpoint", exact=True).first.click()
    expect(pages.get_by_role("img", name="Image of a captured request").first).to_be_visible(timeout=PAGE_MILLISECONDS)


def test_a_viewer_sees_everything_and_uses_nothing(
    browser: Browser, installation: LiveAirflow, versions: object
) -> None:
    address = f"{installation.url}/image-classification/datasets/{DATASET}"
    with page_of_its_own(browser) as page:
        let_in(VIEWER, page, installation)
        page.goto(f"{address}/models/1")
        expect(page.get_by_role("button", name="Retrain from it")).to_be_disabled()
        expect(page.get_by_text("You may not start runs of")).to_be_visible()
        page.goto(f"{address}/endpoint")
        expect(page.get_by_text("You may not start runs of predict_images")).to_be_visible()
        refused = page.evaluate(
            """path => fetch(path, {method: "POST", headers: {"X-Image-Classification": "1"}, body: "x"})
               .then(answer => answer.status)""",
            "/image-classification/datasets/figures/endpoint/images",
        )
        assert refused == 403

        page.context.clear_cookies()
        answer = page.goto(f"{address}/models")
        assert answer is not None
        assert answer.status == 401
        expect(page.get_by_role("link", name="Sign in to Airflow")).to_be_visible()


def test_no_page_has_a_serious_flaw_of_accessibility_and_each_fits_a_phone(
    page: Page, installation: LiveAirflow, airflow: Operator, world: World, something_on_each_page: None
) -> None:
    root = f"{installation.url}/image-classification"
    alone = page.context.new_page()
    found = [flaw for path in addresses(airflow, world) for flaw in flaws_of_page(alone, f"{root}{path}")]
    alone.close()

    assert found == []


def test_no_report_has_a_serious_flaw_of_accessibility_and_each_fits_a_phone(
    browser: Browser, world: World, something_on_each_page: None
) -> None:
    """As they are in S3: the frame in which a page shows them runs no script of axe either."""
    places = [
        (bucket, key)
        for bucket, prefix in (
            (world.settings.output_bucket, "reports/"),
            (world.settings.data_bucket, f"datasets/{DATASET}/"),
        )
        for key in world.keys(bucket, prefix)
        if key.endswith(".html")
    ]
    found = []
    page = browser.new_page()
    for bucket, key in places:
        report = world.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.set_content(report)
            found += [f"{key} ({theme}): {flaw}" for flaw in flaws(page, theme)]
    page.close()

    assert {key.rpartition("/")[2] for _, key in places} >= {"report.html", "leaderboard.html"}
    assert found == []


def addresses(airflow: Operator, world: World) -> list[str]:
    """Every kind of page."""
    data = world.keys(world.settings.data_bucket, f"datasets/{DATASET}/")[0].split("/")[2]
    output = world.settings.output_bucket
    asked = world.keys(output, f"predictions/question-{DATASET}-")[0].split("/")[1].rpartition("-")[2]
    report = next(key for key in world.keys(output, "reports/") if key.endswith(".html")).split("/")[1]
    of_dataset = f"/datasets/{DATASET}"
    return [
        "/",
        "/new-run",
        f"{of_dataset}/models",
        f"{of_dataset}/models/1",
        f"{of_dataset}/models/compare?version=1&version=3",
        f"{of_dataset}/endpoint",
        f"{of_dataset}/questions/{asked}",
        f"{of_dataset}/versions",
        f"{of_dataset}/versions/{data}",
        f"{of_dataset}/{data}/report.html",
        f"{of_dataset}/jobs",
        "/runs",
        *(f"/runs/train_model/{quote(run.run_id, safe='')}" for run in airflow.dag_runs("train_model")[:1]),
        f"/jobs/training_job/{next(iter(world.training_jobs()))}",
        f"/reports/{report}/",
    ]
