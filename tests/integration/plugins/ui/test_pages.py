"""What the pages show of a local AWS, whatever is written there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from include.deployment.registry import RegisteredModel, decided
from include.settings import Settings
from tests.integration.plugins.ui.conftest import SignIn
from tests.support.local_aws import BUCKET, RunningLocalAws, eventually, finished_job, log_lines, training_request
from tests.support.running_task import SETTINGS
from tests.support.served_models import IMAGE, deployed, registered

HOSTILE = '<img src=x onerror="alert(1)"> \u202egnp.exe {{ 7 * 7 }}'
RUN = "manual-2026-11-29-2115877200"


@pytest.fixture
def settings() -> Settings:
    return Settings.from_variable({**SETTINGS, "image_uri": IMAGE})


PAGE_SECONDS = 120.0
"""How long a page may read AWS in the background while other tests have the processor."""


def shown(client: Any, path: str, *wanted: str) -> str:
    """The page, once it shows what is wanted: what it does not know yet is read in the background."""

    seen = ""

    def look() -> bool:
        nonlocal seen
        answer = client.get(path)
        seen = answer.text
        assert answer.status_code == 200, seen
        return all(each in seen for each in wanted)

    try:
        eventually(look, PAGE_SECONDS)
    except AssertionError as missing:
        raise AssertionError(f"{path} does not show {wanted}: {seen}") from missing
    return seen


def is_not_found(client: Any, path: str) -> bool:
    """Whether a page is not found, once AWS and Airflow have been asked, which may take longer than a page waits."""
    return bool(eventually(lambda: client.get(path).status_code == 404, PAGE_SECONDS))


@pytest.fixture
def figures(aws: RunningLocalAws) -> Iterator[None]:
    """The report of the tests' models has the figures of 20 images."""
    document = {"images": 20, "accuracy": 0.9, "intervals": {"accuracy": {"low": 0.71, "high": 0.97}}}
    place = {"Bucket": BUCKET, "Key": "reports/run/metrics.json"}
    aws.client("s3").put_object(**place, Body=json.dumps(document).encode())
    yield
    aws.client("s3").delete_object(**place)


@pytest.mark.usefixtures("figures")
def test_the_overview_shows_what_serves_with_its_interval_and_why(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    first = registered(aws, settings, pets)
    decided(aws.client("sagemaker"), first, "Approved", "Better than guessing.")
    deployed(aws, settings, first)
    registered(aws, settings, pets, accuracy=0.95)

    page = shown(
        sign_in("VIEWER"), "/", pets, "InService", "71.0 % to 97.0 %", "Better than guessing.", "requests in 24"
    )

    assert f'href="/datasets/{pets}/models/1"' in page


def test_the_table_marks_what_serves_and_is_sorted_by_any_column(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    worse, better = registered(aws, settings, pets, accuracy=0.8), registered(aws, settings, pets, accuracy=0.95)
    deployed(aws, settings, worse)
    client, path = sign_in("VIEWER"), f"/datasets/{pets}/models"

    def order(query: str) -> list[int]:
        page = shown(client, f"{path}?{query}", "95.00 %", "80.00 %", "serving")
        return sorted((1, 2), key=lambda number: page.index(f'id="choose-{number}"'))

    assert order("") == [2, 1]
    assert order("sort=accuracy&up=1") == [1, 2]
    assert order("sort=accuracy") == [2, 1]
    assert order("sort=cost") == [2, 1]
    page = client.get(path).text
    row = page[page.index('<tr class="serves">') :]
    assert "Version 1" in row[: row.index("</tr>")]
    assert better.version == 2


def test_a_version_is_offered_what_fits_it(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    first, second, third = (registered(aws, settings, pets) for _ in range(3))
    deployed(aws, settings, second)
    decided(aws.client("sagemaker"), third, "PendingManualApproval", "It waits for a person.")

    def buttons(role: str, number: int) -> set[str]:
        page = shown(sign_in(role), f"/datasets/{pets}/models/{number}", "Retrain from it")
        return {
            name for name in ("approve", "reject", "deploy", "roll_back", "retrain") if f'<dialog id="{name}"' in page
        }

    assert buttons("USER", 1) == {"roll_back", "reject", "retrain"}
    assert buttons("USER", 2) == {"reject", "retrain"}
    assert buttons("USER", 3) == {"approve", "reject", "retrain"}
    assert buttons("VIEWER", 3) == set()
    serving = sign_in("USER").get(f"/datasets/{pets}/models/2").text
    assert "To roll back, open an earlier version" in serving
    assert f'<a href="/datasets/{pets}/models/1">version 1</a>' in serving
    assert "You may not start runs of review_model." in sign_in("VIEWER").get(f"/datasets/{pets}/models/3").text
    assert first.version == 1


def test_what_is_written_in_the_registry_and_in_s3_is_text_and_nothing_else(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    model = registered(aws, settings, pets)
    written_by_another_tool(aws, model, HOSTILE)
    folder = 'datasets/<script>alert(1)</script>/x"onmouseover="alert(2)/dataset.json'
    aws.client("s3").put_object(Bucket=BUCKET, Key=folder, Body=b"{}")
    client = sign_in("USER")
    try:
        pages = [
            shown(client, "/", "&lt;script&gt;"),
            shown(client, f"/datasets/{pets}/models/1", "&lt;img src=x onerror="),
        ]
    finally:
        aws.client("s3").delete_object(Bucket=BUCKET, Key=folder)

    for page in pages:
        assert "<img src=x" not in page
        assert "<script>alert" not in page
        assert '"onmouseover=' not in page
        assert "\u202e" not in page
    assert "\\u202egnp.exe" in pages[1]
    assert "{{ 7 * 7 }}" in pages[1], "no text is a template"


def written_by_another_tool(aws: RunningLocalAws, model: RegisteredModel, reason: str) -> None:
    aws.client("sagemaker").update_model_package(ModelPackageArn=model.arn, ApprovalDescription=reason)


def test_a_job_is_shown_with_its_log(sign_in: SignIn, aws: RunningLocalAws) -> None:
    name = f"shown-{uuid4().hex[:8]}"
    aws.client("sagemaker").create_training_job(**training_request(name))
    finished_job(aws.client("sagemaker"), name)

    page = shown(sign_in("VIEWER"), f"/jobs/training_job/{name}", "Completed", 'class="log code"', "ml.g5.xlarge")

    assert log_lines(aws.client("logs"), name)[0] in page
    assert is_not_found(sign_in("VIEWER"), "/jobs/training_job/of-nobody")


def test_a_report_is_shown_where_no_script_of_it_can_run(sign_in: SignIn, aws: RunningLocalAws) -> None:
    body = b"<title>Report</title><script>parent.document.title = 'taken'</script>"
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"reports/{RUN}/report.html", Body=body)
    aws.client("s3").put_object(Bucket=BUCKET, Key=f"reports/{RUN}/metrics.json", Body=b"{}")
    client = sign_in("VIEWER")

    page = client.get(f"/reports/{RUN}/").text
    stored = client.get(f"/stored/reports/{RUN}/report.html")

    assert f'sandbox="allow-same-origin" data-src="/stored/reports/{RUN}/report.html"' in page
    assert "metrics.json" in page
    assert stored.content == body
    policy = stored.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-same-origin; default-src 'none';")
    assert "script" not in policy
    attached = client.get(f"/stored/reports/{RUN}/metrics.json").headers
    assert attached["Content-Disposition"] == 'attachment; filename="metrics.json"'


@pytest.mark.parametrize(
    "path",
    [
        "/stored/jobs/job/output/model.tar.gz",
        "/stored/reports/../jobs/model.tar.gz",
        "/stored/reports/run/%2e%2e/%2e%2e/data/train/train.rec",
        "/stored/datasets/pets/1/train/train.rec",
        "/reports/of-no-run/report.html/../../x",
        "/stored/reports/of-no-run/report.html",
    ],
)
def test_no_other_object_of_the_buckets_is_passed_on(path: str, sign_in: SignIn) -> None:
    answer = sign_in("ADMIN").get(path)

    assert answer.status_code == 404
    assert "There is no" in answer.text


def test_a_page_says_what_is_wrong_with_the_settings(sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "regoin": "x"}))

    answer = sign_in("VIEWER").get("/")

    assert answer.status_code == 503
    assert "regoin" in answer.text


def test_while_aws_does_not_answer_a_page_shows_what_was_last_seen(
    sign_in: SignIn, aws: RunningLocalAws, settings: Settings, pets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(aws, settings, pets)
    client = sign_in("VIEWER")
    state: Any = client.app.state  # type: ignore[attr-defined]
    of_other_tests = state.installation
    state.installation = type(of_other_tests)()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    try:
        page = shown(client, f"/datasets/{pets}/models", "The versions could not be read")
    finally:
        state.installation = of_other_tests

    assert "127.0.0.1:9" in page
