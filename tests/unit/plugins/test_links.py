from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.execution_time.xcom import XCom

from image_classification.links import ReportLink, console_url, log_url, s3_url


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


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(("document", "found"), [({"report_uri": "s3://b/k"}, True), (None, False)])
def test_a_task_that_wrote_no_report_has_no_link(document: Any, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(XCom, "get_value", lambda **_: document)
    key: Any = None

    link = ReportLink(lambda returned: str(returned["report_uri"])).get_link(None, ti_key=key)  # type: ignore[arg-type]

    assert link.endswith("/s3/object/b?region=us-east-1&prefix=k") is found
    assert bool(link) is found
