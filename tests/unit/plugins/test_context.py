"""What a running task works with: settings and AWS access, and what its first tasks hand on of a secret address."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import NoCredentialsError

from image_classification import context
from image_classification.context import (
    AwsAccess,
    endpoint_check_schedule,
    load_settings,
    queue_settings,
    retraining_schedule,
)
from image_classification.tasks import check_conf, choose_model
from image_classification.ui.installation import Connected
from include.datasets import version
from include.deployment import registry
from include.preflight import checking
from include.promotion import champion
from include.settings import Settings
from tests.support.documents import dataset_version
from tests.support.running_task import run_as_task

VARIABLE = "AIRFLOW_VAR_IMAGE_CLASSIFICATION"
CONTENT = {
    "data_bucket": "pictures",
    "output_bucket": "models",
    "execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker",
    "region": "eu-west-1",
}
SECRET = "0123456789abcdef"
ADDRESS = f"https://acme.com/a.zip?X-Amz-Credential=AKIAEXAMPLE&X-Amz-Signature={SECRET}"
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


def test_the_endpoint_check_has_the_time_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({**CONTENT, "endpoint_check_cron": "30 5 * * *"}))
    timetable = endpoint_check_schedule()
    assert timetable is not None
    assert timetable.expression == "30 5 * * *"


@pytest.mark.parametrize("cron", ["", "daily at five", 5, None])
def test_without_a_readable_time_the_endpoint_check_has_no_schedule(
    monkeypatch: pytest.MonkeyPatch, cron: object
) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({**CONTENT, "endpoint_check_cron": cron}))
    assert endpoint_check_schedule() is None


def test_new_images_are_looked_for_at_the_time_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({**CONTENT, "retraining_cron": "30 5 * * *"}))
    assert retraining_schedule().expression == "30 5 * * *"


@pytest.mark.parametrize("content", ["{", json.dumps(CONTENT), json.dumps({**CONTENT, "retraining_cron": "daily"})])
def test_without_a_readable_time_new_images_are_looked_for_every_hour(
    monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv(VARIABLE, content)
    assert retraining_schedule().expression == "17 * * * *"


def test_access_survives_the_way_through_json() -> None:
    access = AwsAccess("aws_team", "eu-west-1", "/etc/ca.pem", {"retries": {"max_attempts": 2}})

    assert AwsAccess(**json.loads(json.dumps(access.as_fields()))) == access


@pytest.mark.parametrize("made_by", ["access", "pages"])
def test_a_client_that_was_made_without_credentials_is_not_kept(monkeypatch: pytest.MonkeyPatch, made_by: str) -> None:
    """They may come from a service that answers late: the pages' server runs for months."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings, _ = Settings.read(CONTENT)
    access = AwsAccess.of(settings)
    client = {"access": access.client, "pages": Connected(settings, access).client}[made_by]

    with pytest.raises(NoCredentialsError):
        presigned(client("s3"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    assert "AKIAEXAMPLE" in presigned(client("s3"))
    assert client("s3") is client("s3")


def presigned(s3: Any) -> str:
    return str(s3.generate_presigned_url("get_object", Params={"Bucket": "pictures", "Key": "1.jpg"}))


class Store:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        self.kept[f"s3://{Bucket}/{Key}"] = Body


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    access = SimpleNamespace(client=lambda _: store, quick_clients=lambda: lambda _: store)
    monkeypatch.setattr(AwsAccess, "of", lambda _: access)
    return store


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    heard: list[Any] = []
    monkeypatch.setattr(context, "mask_secret", heard.append)
    return heard


def asked(monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any]) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps(CONTENT))
    run_as_task(monkeypatch, conf)


def test_the_conf_that_tasks_hand_on_has_a_reference_for_a_query(
    store: Store, hidden: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, {"dataset.name": "pets", "dataset.source": [ADDRESS]})

    document = check_conf.check_conf.function(stages=())

    assert SECRET not in json.dumps(document)
    (source,) = document["dataset"]["source"]
    assert source.startswith("https://acme.com/a.zip?kept-query=")
    assert SECRET in hidden
    reference = source.rpartition("=")[2]
    assert store.kept == {f"s3://{CONTENT['data_bucket']}/unpacked/pets/{reference}/address.txt": ADDRESS.encode()}


def test_the_conf_beside_a_chosen_model_has_none_either(
    store: Store, hidden: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, {"dataset.name": "pets", "dataset.source": [ADDRESS]})
    model = SimpleNamespace(
        approved=True, group="g", version=1, accuracy=1.0, dataset_uri="", model_dump=lambda **_: {}
    )
    monkeypatch.setattr(registry, "last_approved", lambda *_, **__: model)
    monkeypatch.setattr(champion, "champion_of", lambda *_, **__: None)
    monkeypatch.setattr(version, "load", lambda *_: dataset_version())
    monkeypatch.setattr(checking, "check", lambda *_, **__: None)

    document = choose_model.choose_model.function()

    assert SECRET not in json.dumps(document)
    assert SECRET in hidden
