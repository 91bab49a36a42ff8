from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.execution_time.xcom import XCom

from image_classification.links import WrittenLink, console_url, log_url, s3_page, s3_url, web_pages
from include.settings import Settings
from tests.support.local_aws import BUCKET
from tests.support.running_task import DAG, RUN, SETTINGS, running_task


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and a connection to AWS itself."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(SETTINGS))


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_a_jobs_page_lies_in_the_console_of_its_partition(region: str, host: str) -> None:
    assert console_url(region, "jobs", "digits-1") == f"https://{host}/sagemaker/home?region={region}#/jobs/digits-1"


def test_a_jobs_log_is_narrowed_to_its_own_streams() -> None:
    assert log_url("eu-west-1", "/aws/sagemaker/TrainingJobs", "digits-1/") == (
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/"
        "$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3Ddigits-1$252F"
    )


def test_a_report_is_shown_in_the_s3_console() -> None:
    assert s3_url("eu-west-1", "s3://models/reports/a run/report.html") == (
        "https://eu-west-1.console.aws.amazon.com/s3/object/models?region=eu-west-1&prefix=reports/a%20run/report.html"
    )
    assert s3_url("eu-west-1", "s3://models/reports/a run/") == (
        "https://eu-west-1.console.aws.amazon.com/s3/buckets/models?region=eu-west-1&prefix=reports/a%20run/"
    )


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a task handed on, by the name of the XCom."""
    documents: dict[str, Any] = {}
    monkeypatch.setattr(XCom, "get_value", lambda *, ti_key, key: documents.get(key))
    return documents


def page_of(link: WrittenLink) -> str:
    key: Any = None
    return link.get_link(None, ti_key=key)  # type: ignore[arg-type]


@pytest.mark.usefixtures("installation")
def test_a_task_leads_to_what_it_wrote_and_to_nothing_if_it_wrote_nothing(handed_on: dict[str, Any]) -> None:
    report, summary = WrittenLink("Report", lambda made: made["report"]), WrittenLink("Summary", str, "summary")

    assert (page_of(report), page_of(summary)) == ("", "")
    handed_on |= {"return_value": {"report": None}, "summary": "s3://b/run/summary.json"}
    assert page_of(report) == ""
    assert page_of(summary).endswith("/s3/object/b?region=us-east-1&prefix=run/summary.json")
    handed_on["return_value"] = {"report": "s3://b/a run/report.html"}
    assert page_of(report).endswith("/s3/object/b?region=us-east-1&prefix=a%20run/report.html")


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:4566"])
def test_a_report_is_shown_by_airflows_own_pages_on_aws_and_locally(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.acme.org/team/")
    pages = "https://airflow.acme.org/team/plugin/image-classification/team/image-classification"
    settings = Settings.from_variable(SETTINGS)

    assert s3_page(settings, f"s3://{BUCKET}/reports/run-1/report.html") == f"{pages}/reports/run-1/report.html"
    assert s3_page(settings, f"s3://{BUCKET}/reports/run-1/") == f"{pages}/reports/run-1/"
    assert s3_page(settings, f"s3://{BUCKET}/datasets/pets/1/report.html") == f"{pages}/datasets/pets/1/report.html"


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("endpoint", ["http://local-aws:4566", "https://vpce-1.s3.eu-west-1.vpce.amazonaws.com"])
def test_an_endpoint_that_no_browser_reaches_is_not_linked_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    settings = Settings.from_variable(SETTINGS)
    assert s3_page(settings, "s3://b/k").startswith("https://us-east-1.console.aws.amazon.com/s3/")


@pytest.mark.usefixtures("installation")
def test_a_report_leads_to_its_run_in_airflow_and_to_the_aws_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.acme.org/team/")
    pages = web_pages(running_task(Settings.from_variable(SETTINGS)))
    assert pages.run == f"https://airflow.acme.org/team/dags/{DAG}/runs/{RUN}"
    assert pages.job("digits-1") == console_url("us-east-1", "jobs", "digits-1")
    assert pages.stored("s3://b/a run/report.html") == s3_url("us-east-1", "s3://b/a run/report.html")


@pytest.mark.usefixtures("installation")
def test_in_a_local_aws_a_report_leads_to_objects_and_to_pages_of_jobs_and_to_no_console(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    pages = web_pages(running_task(Settings.from_variable(SETTINGS)))
    assert pages.job("digits-1").endswith(
        "/plugin/image-classification/image-classification/jobs/training_job/digits-1"
    )
    assert pages.stored("s3://b/k") == "http://127.0.0.1:4566/b/k?Signature=none"
