from __future__ import annotations

import json

import pytest
from airflow.sdk.exceptions import AirflowFailException

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings, queue_settings

VARIABLE = "AIRFLOW_VAR_IMAGE_CLASSIFICATION"
CONTENT = {
    "data_bucket": "pictures",
    "output_bucket": "models",
    "execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker",
    "region": "eu-west-1",
}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/new-images"


def test_settings_come_from_the_variable_and_say_how_aws_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({**CONTENT, "aws_conn_id": "aws_team"}))

    settings = load_settings()

    assert settings.data_bucket == "pictures"
    assert AwsAccess.of(settings) == AwsAccess(aws_conn_id="aws_team", region_name="eu-west-1")


def test_wrong_settings_end_the_task_without_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({"data_bucket": "pictures"}))

    with pytest.raises(AirflowFailException, match="execution_role_arn"):
        load_settings()


def test_the_queue_of_a_dag_file_comes_from_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({**CONTENT, "queue_url": QUEUE}))

    assert queue_settings() == {"queue_url": QUEUE, "region": "eu-west-1"}


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps(CONTENT), json.dumps({**CONTENT, "queue_url": ""})])
def test_no_queue_and_no_readable_variable_never_fail_a_parse(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv(VARIABLE, content)

    assert queue_settings() == {}


def test_access_survives_the_way_through_json() -> None:
    access = AwsAccess("aws_team", "eu-west-1", "/etc/ca.pem", {"retries": {"max_attempts": 2}})

    assert AwsAccess(**json.loads(json.dumps(access.as_fields()))) == access
