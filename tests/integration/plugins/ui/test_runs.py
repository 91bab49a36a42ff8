"""The pages of runs and of training jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from include.sagemaker.naming import Run, tags
from include.settings import Settings
from tests.integration.plugins.ui.conftest import SignIn
from tests.integration.plugins.ui.test_pages import is_not_found, shown
from tests.support.documents import dataset_version
from tests.support.local_aws import RunningLocalAws, finished_job, training_request
from tests.support.made_runs import MadeRuns
from tests.support.running_task import SETTINGS

DAG = "train_model"


@pytest.fixture
def run(made_runs: MadeRuns) -> Run:
    """A run that Airflow knows, of a person who is called Ada."""
    known = made_runs.make(DAG, conf={"dataset.name": "pets"}, triggering_user_name="Ada")
    return Run(DAG, made_runs.show(known))


@pytest.fixture
def failed(made_runs: MadeRuns) -> Run:
    """A run whose first task has failed."""
    known = made_runs.make(DAG, state="failed")
    (first,) = [task for task in known.task_instances if task.task_id == "check_conf"]
    first.state = "failed"
    return Run(DAG, made_runs.show(known))


def start_job(aws: RunningLocalAws, dataset: str, run: Run, task: str, **hyperparameters: str) -> str:
    """A finished job of the stand-in container, tagged as a task's."""
    name = f"job-{uuid4().hex[:8]}"
    request = training_request(
        name,
        HyperParameters=hyperparameters,
        Tags=tags(Settings.from_variable(SETTINGS), Run(run.dag_id, run.run_id, task), dataset_version(name=dataset)),
    )
    aws.client("sagemaker").create_training_job(**request)
    finished_job(aws.client("sagemaker"), name)
    return name


def write_epochs(aws: RunningLocalAws, job: str, *accuracies: float) -> None:
    """More lines of the job's log, as the algorithm writes them."""
    logs, group = aws.client("logs"), "/aws/sagemaker/TrainingJobs"
    stream = f"{job}/algo-1-9999999999"
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    now = int(datetime.now(UTC).timestamp() * 1000)
    lines = [
        {"timestamp": now + epoch, "message": f"Epoch[{epoch}] Validation-accuracy={accuracy:.6f}"}
        for epoch, accuracy in enumerate(accuracies)
    ]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=lines)


def page_of(run: Run) -> str:
    return f"/runs/{run.dag_id}/{quote(run.run_id, safe='')}"


def test_a_run_shows_its_jobs_the_best_first_with_their_curves(
    sign_in: SignIn, aws: RunningLocalAws, pets: str, run: Run
) -> None:
    worse = start_job(aws, pets, run, "training.train/0", learning_rate="0.1", epochs="4")
    better = start_job(aws, pets, run, "training.train/1", learning_rate="0.2", epochs="4")
    write_epochs(aws, worse, 0.5, 0.6, 0.55)
    write_epochs(aws, better, 0.6, 0.8)

    page = shown(sign_in("VIEWER"), page_of(run), "<strong>0.8000</strong>", "<strong>0.6000</strong>")

    assert page.index(better) < page.index(worse)
    assert "validation:accuracy by epoch. trial 1: from 50.0% to 55.0%; trial 2: from 60.0% to 80.0%." in page
    assert "3 of 4" in page
    assert "best: 2" in page
    assert ">learning_rate</th>" in page
    assert "Ada" in page
    assert 'data-refresh="5"' in page, "it goes on"


def test_a_run_shows_first_which_task_has_failed(sign_in: SignIn, failed: Run) -> None:
    page = shown(sign_in("VIEWER"), page_of(failed), "has failed. Its log says why.")

    assert f'href="/dags/{DAG}/runs/{failed.run_id}/tasks/check_conf" data-in-airflow>check_conf</a> has failed' in page
    assert "Its training jobs" not in page[: page.index("has failed")]


def test_a_run_that_may_not_be_read_is_not_found(sign_in: SignIn, run: Run) -> None:
    client = sign_in("VIEWER")

    assert client.get(f"/runs/of_somebody_else/{quote(run.run_id)}").status_code == 404
    assert is_not_found(client, f"/runs/{DAG}/manual__of_nobody")


def test_the_jobs_of_a_dataset_are_sorted_by_what_they_were_sent_and_reached(
    sign_in: SignIn, aws: RunningLocalAws, pets: str, run: Run
) -> None:
    small = start_job(aws, pets, run, "training.train/0", learning_rate="0.05")
    large = start_job(aws, pets, run, "training.train/1", learning_rate="0.5")
    other = start_job(aws, f"my-{pets}", run, "training.train/2", learning_rate="0.7")
    client, path = sign_in("VIEWER"), f"/datasets/{pets}/jobs"

    def order(query: str) -> list[str]:
        page = shown(client, f"{path}?{query}", small, large)
        assert other not in page
        return sorted((small, large), key=page.index)

    assert order("sort=hp-learning_rate") == [large, small]
    assert order("sort=hp-learning_rate&up=1") == [small, large]
    assert order("sort=created") == [large, small]
    assert f'href="{page_of(run)}"' in client.get(path).text
    assert "ml.g5.xlarge" in client.get(path).text


def test_runs_are_listed_of_all_datasets_or_of_one(sign_in: SignIn, run: Run) -> None:
    client = sign_in("VIEWER")

    assert run.run_id in shown(client, "/runs", run.run_id)
    assert run.run_id in client.get("/runs?dataset=pets").text
    assert run.run_id not in client.get("/runs?dataset=others").text


def test_a_price_of_the_settings_gives_the_cost_of_a_job(
    sign_in: SignIn, aws: RunningLocalAws, pets: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    priced: dict[str, Any] = {**SETTINGS, "prices": {"ml.g5.xlarge": 3600.0}}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(priced))
    job = start_job(aws, pets, run, "training.train/0")
    seconds = aws.client("sagemaker").describe_training_job(TrainingJobName=job)["BillableTimeInSeconds"]

    shown(sign_in("VIEWER"), page_of(run), f"<b>{seconds:,.2f} USD</b>" if seconds else "<b>0.00 USD</b>")
