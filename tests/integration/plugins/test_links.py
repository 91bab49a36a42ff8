"""Links that lead a browser to what a task wrote, in the local AWS."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from airflow.sdk.execution_time.xcom import XCom

from image_classification.links import WrittenLink
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.unit.plugins.test_links import page_of


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a task handed on, by the name of the XCom."""
    documents: dict[str, Any] = {}
    monkeypatch.setattr(XCom, "get_value", lambda *, ti_key, key: documents.get(key))
    return documents


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "connection"])
def test_links_to_a_local_aws_lead_to_the_objects_themselves(
    variable: str, aws: RunningLocalAws, handed_on: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    if variable == "connection":
        connection = {"conn_type": "aws", "extra": {"endpoint_url": aws.url}}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    else:
        monkeypatch.setenv(variable, aws.url)
    aws.client("s3").put_object(Bucket=BUCKET, Key="reports/a run/report.html", Body=b"<p>94 %</p>")
    handed_on["return_value"] = f"s3://{BUCKET}/reports/a run/report.html"
    folder = WrittenLink("Reports", lambda uri: f"{uri.rpartition('/')[0]}/")
    clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    assert httpx.get(page_of(WrittenLink("Report", str)), headers=clicked).text == "<p>94 %</p>"
    assert "reports/a run/report.html" in httpx.get(page_of(folder), headers=clicked).text
