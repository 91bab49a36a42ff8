from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from include.clean_up.findings import carry_out
from include.clean_up.running import orphaned_jobs
from include.sagemaker.naming import job_name
from tests.integration.clean_up.conftest import KnownRuns
from tests.support.local_aws import BUCKET, finished_job, training_request

DAG = "image_classification"


@pytest.fixture
def run() -> str:
    return f"manual__2026-11-20T12:00:00+00:00_{uuid4()}"


def start(sagemaker: Any, run: str, *, task: str = "training.train", index: int = -1, attempt: int = 1) -> str:
    """A job that runs for a minute, named and tagged as the operator does."""
    name = job_name(dag_id=DAG, run_id=run, task_id=task, map_index=index, attempt=attempt)
    tag = f"{task}/{index}" if index >= 0 else task
    tags = [{"Key": key, "Value": value} for key, value in {"dag": DAG, "run": run, "task": tag}.items()]
    hyperparameters = {"seconds": "60", "save_on_sigterm": "1"}
    sagemaker.create_training_job(**training_request(name, HyperParameters=hyperparameters, Tags=tags))
    return name


def clean_up(
    sagemaker: Any, airflow: KnownRuns, *, dry_run: bool = False, unknown_runs: bool = False
) -> dict[str, str]:
    found = orphaned_jobs(sagemaker, airflow, output_bucket=BUCKET, unknown_runs=unknown_runs)
    return {row.name: row.outcome for row in carry_out(found, done="stopped", dry_run=dry_run)}


def status(sagemaker: Any, name: str) -> str:
    return str(sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])


@pytest.mark.parametrize("state", ["failed", "success", "removed"])
def test_the_job_of_a_task_that_has_ended_is_stopped(sagemaker: Any, run: str, state: str) -> None:
    name = start(sagemaker, run)

    outcomes = clean_up(sagemaker, KnownRuns({(DAG, run): {"training.train": state}}))

    assert outcomes[name] == "stopped"
    assert finished_job(sagemaker, name)["TrainingJobStatus"] == "Stopped"


@pytest.mark.parametrize("state", ["running", "deferred", "up_for_retry", "scheduled", "queued", "restarting", None])
def test_a_job_that_may_still_be_waited_for_is_not_touched(sagemaker: Any, run: str, state: str | None) -> None:
    name = start(sagemaker, run)

    assert name not in clean_up(sagemaker, KnownRuns({(DAG, run): {"training.train": state}}))

    assert status(sagemaker, name) == "InProgress"
    sagemaker.stop_training_job(TrainingJobName=name)


def test_a_task_that_is_gone_from_its_run_waits_for_nothing(sagemaker: Any, run: str) -> None:
    name = start(sagemaker, run)

    assert clean_up(sagemaker, KnownRuns({(DAG, run): {"check_conf": "success"}}))[name] == "stopped"


def test_of_mapped_tasks_each_has_its_own_job_and_a_later_attempt_is_known_too(sagemaker: Any, run: str) -> None:
    ended, waited_for = start(sagemaker, run, index=0, attempt=3), start(sagemaker, run, index=1)
    airflow = KnownRuns({(DAG, run): {"training.train_0": "failed", "training.train_1": "deferred"}})

    outcomes = clean_up(sagemaker, airflow)

    assert outcomes[ended] == "stopped"
    assert waited_for not in outcomes
    sagemaker.stop_training_job(TrainingJobName=waited_for)


def test_the_job_of_an_unknown_run_is_told_and_left_unless_asked(sagemaker: Any, run: str) -> None:
    name = start(sagemaker, run)

    assert clean_up(sagemaker, KnownRuns())[name] == "left"
    assert status(sagemaker, name) == "InProgress"
    assert clean_up(sagemaker, KnownRuns(), unknown_runs=True)[name] == "stopped"


def test_a_job_whose_tags_do_not_lead_to_its_name_is_somebody_elses(sagemaker: Any, run: str) -> None:
    name = f"of-another-team-{uuid4().hex[:8]}"
    tags = [{"Key": key, "Value": value} for key, value in {"dag": DAG, "run": run, "task": "training.train"}.items()]
    sagemaker.create_training_job(**training_request(name, HyperParameters={"seconds": "60"}, Tags=tags))

    outcomes = clean_up(sagemaker, KnownRuns({(DAG, run): {"training.train": "failed"}}), unknown_runs=True)

    assert name not in outcomes
    sagemaker.stop_training_job(TrainingJobName=name)


def test_a_job_of_a_run_that_another_installation_calls_the_same_is_its_own_affair(sagemaker: Any, run: str) -> None:
    name = start(sagemaker, run)
    mine = KnownRuns({(DAG, run): {"training.train": "success"}})

    found = orphaned_jobs(sagemaker, mine, output_bucket="models-of-my-installation", unknown_runs=True)

    assert name not in [one.name for one in found]
    sagemaker.stop_training_job(TrainingJobName=name)


def test_a_dry_run_only_tells(sagemaker: Any, run: str) -> None:
    name = start(sagemaker, run)

    outcomes = clean_up(sagemaker, KnownRuns({(DAG, run): {"training.train": "failed"}}), dry_run=True)

    assert outcomes[name] == "would be stopped"
    assert status(sagemaker, name) == "InProgress"
    sagemaker.stop_training_job(TrainingJobName=name)


def test_a_task_that_was_cleared_meanwhile_keeps_its_job(sagemaker: Any, run: str) -> None:
    name = start(sagemaker, run)
    airflow = KnownRuns({(DAG, run): {"training.train": "failed"}})
    found = list(orphaned_jobs(sagemaker, airflow, output_bucket=BUCKET, unknown_runs=False))
    airflow.states[DAG, run]["training.train"] = "scheduled"

    outcomes = {row.name: row.outcome for row in carry_out(found, done="stopped", dry_run=False)}

    assert outcomes[name] == "left: its task waits for it again"
    assert status(sagemaker, name) == "InProgress"
    sagemaker.stop_training_job(TrainingJobName=name)
