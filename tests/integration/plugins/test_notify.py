"""Messages to people, from the topic to a queue that hears of it, on the local AWS."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.callbacks.callback_requests import DagCallbackRequest
from airflow.dag_processing.dagbag import DagBag
from airflow.dag_processing.processor import _execute_dag_callbacks
from airflow.sdk import BaseNotifier

from image_classification import notify
from image_classification.context import RunningTask
from image_classification.notify import Occasion
from tests.support.airflow_home import ROOT
from tests.support.local_aws import RunningLocalAws
from tests.support.running_task import SETTINGS, airflow_context

Messages = Callable[[], list[dict[str, Any]]]
PAGE = "http://localhost:8080/dags/chain/runs/run/tasks/summarise?try_number=1"


@pytest.fixture
def messages(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> Messages:
    """What has come to a queue that is subscribed to the topic of the setting `notify`."""
    sns, sqs, name = aws.client("sns"), aws.client("sqs"), f"people-{uuid4().hex[:8]}"
    topic = sns.create_topic(Name=name)["TopicArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "notify": topic}))

    def received() -> list[dict[str, Any]]:
        answer = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]

    return received


def context() -> Any:
    made = airflow_context(dag_id="chain", run_id="run")
    made["ti"].log_url = PAGE
    return made


OCCASIONS: tuple[Occasion, ...] = ("promoted", "refused", "awaiting approval", "failed", "rolled back", "worse", "late")


@pytest.mark.parametrize("occasion", OCCASIONS)
def test_each_message_arrives_with_subject_text_and_links(messages: Messages, occasion: Occasion) -> None:
    links = {"Report": "s3://models/reports/run/report.html", "Model": None}

    notify.announce(RunningTask.of(context()), occasion, "digits v5: 97.5 %", lines=["More."], links=links)

    (message,) = messages()
    assert message["Subject"] == f"[{occasion}] digits v5: 97.5 %"
    assert message["MessageAttributes"]["occasion"]["Value"] == occasion
    first, _, more, _, report, run, task = message["Message"].split("\n")
    assert (first, more) == ("digits v5: 97.5 %", "More.")
    assert report.startswith("Report: http://127.0.0.1:")
    assert (run, task) == ("Run: http://localhost:8080/dags/chain/runs/run", f"Task: {PAGE}")


def test_a_message_that_cannot_be_sent_fails_nothing_and_is_in_the_log(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = "arn:aws:sns:us-east-1:123456789012:never-made"
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "notify": gone}))
    with caplog.at_level(logging.WARNING, logger=notify.__name__):
        notify.announce(RunningTask.of(context()), "promoted", "digits v5: serving")
    assert f"No message could be sent through {gone}: " in caplog.text
    assert "It was: digits v5: serving" in caplog.text


def test_without_the_setting_nobody_is_told(aws: RunningLocalAws, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=notify.__name__):
        notify.announce(RunningTask.of(context()), "promoted", "digits v5: serving")
    assert caplog.messages == []


class Notebook(BaseNotifier):
    """A notifier that writes down what it is told."""

    template_fields = ("text",)

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path = path
        self.text = text

    def notify(self, context: Any) -> None:
        Path(self.path).write_text(self.text)


def test_a_notifier_of_airflow_gets_the_message_in_its_templates(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = {
        "path": str(tmp_path / "told"),
        "text": "{{ notice.occasion }} | {{ notice.subject }} | {{ notice.text }}",
    }
    setting = {**SETTINGS, "notify": f"{__name__}.Notebook", "notify_arguments": arguments}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(setting))

    notify.announce(RunningTask.of(context()), "refused", "digits v6: 10 %")

    told = (tmp_path / "told").read_text()
    assert told.startswith("refused | [refused] digits v6: 10 % | digits v6: 10 %\n\nRun: ")


@pytest.mark.parametrize("dag_id", ["evaluate_endpoint", "image_classification", "retrain_on_new_images"])
def test_the_dag_processor_tells_people_that_a_run_has_failed(messages: Messages, dag_id: str) -> None:
    """As Airflow calls it: with the DAG that it has parsed again, and little of the run."""
    bag = DagBag(ROOT / "dags" / f"{dag_id}.py")
    request = DagCallbackRequest(
        filepath=f"{dag_id}.py",
        bundle_name="dags-folder",
        bundle_version=None,
        dag_id=dag_id,
        run_id="manual__2026-01-02T03:04:05+00:00",
        msg="task_failure",
    )
    quiet: Any = SimpleNamespace(info=lambda *_, **__: None, warning=pytest.fail, exception=pytest.fail)

    _execute_dag_callbacks(bag, request, quiet)

    (message,) = messages()
    assert message["Subject"] == f"[failed] {dag_id} failed"
    assert "Run manual__2026-01-02T03:04:05+00:00: a task failed." in message["Message"]
    assert f"/dags/{dag_id}/runs/manual__2026-01-02T03%3A04%3A05%2B00%3A00" in message["Message"]
