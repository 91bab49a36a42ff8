"""A task that runs, for code that asks Airflow which one it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.skipmixin import XCOM_SKIPMIXIN_KEY, XCOM_SKIPMIXIN_SKIPPED

import tests.support.airflow_home  # noqa: F401  (before anything imports airflow)
from image_classification.context import AwsAccess, RunningTask
from include.run_conf import RunConf
from include.settings import Settings
from tests.support.documents import SMALL_NETWORK, dataset_version
from tests.support.local_aws import BUCKET, ROLE

DAG, RUN = "image_classification", "manual__1"
SETTINGS = {
    "data_bucket": BUCKET,
    "output_bucket": BUCKET,
    "execution_role_arn": ROLE,
    "region": "us-east-1",
    "poll_seconds": 1,
}
"""The Airflow Variable of an installation on the local AWS."""

Asked = tuple[str, RunningTask, dict[str, Any]]
"""What the body of a create call is built from: the job's name, the running task, the documents of earlier tasks."""


def run_as_task(
    monkeypatch: pytest.MonkeyPatch,
    conf: dict[str, Any] | None = None,
    *,
    dag_id: str = DAG,
    run_id: str = RUN,
    handed_on: dict[str, Any] | None = None,
    other_runs: bool = False,
) -> None:
    """Let what follows run as a task of a run with this conf; `handed_on` receives its further documents.

    With `other_runs` Airflow knows every run that it is asked about, and none of them has ended.
    """
    context = airflow_context(conf, dag_id=dag_id, run_id=run_id, handed_on=handed_on, other_runs=other_runs)
    monkeypatch.setattr("image_classification.context.get_current_context", lambda: context)


def left_out(handed_on: Mapping[str, Any]) -> set[str]:
    """The tasks that a task left out, by what it handed on."""
    return set(handed_on.get(XCOM_SKIPMIXIN_KEY, {}).get(XCOM_SKIPMIXIN_SKIPPED, ()))


def airflow_context(
    conf: dict[str, Any] | None = None,
    *,
    dag_id: str = DAG,
    run_id: str = RUN,
    handed_on: dict[str, Any] | None = None,
    other_runs: bool = False,
) -> Any:
    """Airflow's context of a task, as far as it is read."""
    documents = {} if handed_on is None else handed_on

    def push(key: str, value: Any) -> None:
        documents[key] = value

    ti = SimpleNamespace(
        dag_id=dag_id, run_id=run_id, task_id="a_task", xcom_push=push, get_dr_count=lambda **_: int(bool(other_runs))
    )
    return {"ti": ti, "dag_run": SimpleNamespace(conf=conf), "outlet_events": defaultdict(SimpleNamespace)}


def running_task(settings: Settings) -> RunningTask:
    """A running task of an installation with these settings."""
    return RunningTask(airflow_context(), settings, AwsAccess.of(settings))


def asked(conf: dict[str, Any], **inputs: Any) -> Asked:
    """What a task of the training stage is asked with, for images of 28 pixels."""
    small = {**SMALL_NETWORK, "training.hyperparameters.mini_batch_size": 8}
    documents = {
        "conf": RunConf.from_conf({**small, **conf}).model_dump(mode="json"),
        "dataset": dataset_version().model_dump(mode="json"),
        "champion": None,
        **inputs,
    }
    return "job-1", running_task(Settings.from_variable(SETTINGS)), documents
