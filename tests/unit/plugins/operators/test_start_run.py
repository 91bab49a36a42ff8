"""One run is started for the same growth of a dataset, wherever the look at it is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

from image_classification.context import AwsAccess
from image_classification.operators.start_run import StartRunOperator
from include.retraining import Turn
from tests.support.dataset_bucket import Bucket, bucket, endpoint, s3
from tests.support.running_task import SETTINGS

__all__ = ["bucket", "endpoint", "s3"]  # fixtures

DAG = "retrain_on_new_images"
DATASETS = ("birds", "pets")


class KilledError(BaseException):
    """The task is killed: nothing of it runs any more."""


@dataclass
class Airflow:
    """The runs that Airflow knows, and how often each was begun; it kills the task at a step of its own."""

    states: dict[str, str] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    steps_left: int | None = None

    def step(self) -> None:
        """Something that others can see is about to happen, or has happened."""
        if self.steps_left == 0:
            raise KilledError
        self.steps_left = None if self.steps_left is None else self.steps_left - 1

    def get_dr_count(self, *, dag_id: str, run_ids: list[str], states: list[str] | None = None) -> int:
        assert dag_id == DAG
        return sum(run in self.states and (states is None or self.states[run] in states) for run in run_ids)

    def start(self, asked: DagRunTriggerException) -> None:
        """What Airflow does with what TriggerDagRunOperator raises."""
        run_id = str(asked.dag_run_id)
        assert asked.logical_date is None
        if run_id in self.states and not asked.reset_dag_run:
            assert asked.skip_when_already_exists
            return
        assert self.states.get(run_id) not in ("queued", "running"), "a run that has not ended is begun again"
        self.states[run_id] = "queued"
        self.begun[run_id] = self.begun.get(run_id, 0) + 1

    def unfinished(self, dataset: str) -> list[str]:
        return [run for run, state in self.states.items() if dataset in run and state in ("queued", "running")]


@dataclass
class Look:
    """Starts what a look found, each time from the beginning."""

    airflow: Airflow
    s3: Any
    bucket: str

    def start(
        self, dataset: str, found: str = "1a2b", *, once: bool = False, deadline_hours: float | None = None
    ) -> str:
        operator = StartRunOperator(
            task_id="start_retraining",
            dataset=dataset,
            once=once,
            deadline_hours=deadline_hours,
            trigger_dag_id=DAG,
            trigger_run_id=f"retrain__{dataset}__v1__{found}",
            conf={"dataset": {"name": dataset}},
        )
        ti = SimpleNamespace(
            dag_id=DAG, run_id="look", task_id="start_retraining", get_dr_count=self.airflow.get_dr_count
        )
        try:
            operator.execute({"ti": ti})  # type: ignore[arg-type]
        except DagRunTriggerException as asked:
            self.airflow.step()
            self.airflow.start(asked)
            self.airflow.step()
            return "started"
        except AirflowSkipException as skipped:
            return str(skipped)
        raise AssertionError("it neither starts a run nor skips")

    def late_at(self, dataset: str) -> datetime | None:
        turn = self.s3.get_object(Bucket=self.bucket, Key=f"datasets/{dataset}/turn.json")["Body"].read()
        return Turn.model_validate_json(turn).late_at


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def look(airflow: Airflow, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Look]:
    class Stepping:
        def __getattr__(self, name: str) -> Any:
            return getattr(bucket.s3, name)

        def put_object(self, **options: Any) -> Any:
            airflow.step()
            answer = bucket.s3.put_object(**options)
            airflow.step()
            return answer

    settings = {**SETTINGS, "data_bucket": bucket.name}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(settings))
    monkeypatch.setattr(AwsAccess, "client", lambda *_: Stepping())
    return Look(airflow, bucket.s3, bucket.name)


def test_a_dataset_that_has_grown_gets_a_run_and_while_it_has_not_ended_no_other(look: Look, airflow: Airflow) -> None:
    assert look.start("pets") == "started"
    assert look.start("pets") == "pets: retrain__pets__v1__1a2b was started already."
    airflow.states["retrain__pets__v1__1a2b"] = "running"

    assert look.start("pets", "3c4d") == (
        "pets: retrain__pets__v1__1a2b of retrain_on_new_images has not ended. A later look takes the new images."
    )
    assert look.start("birds") == "started"
    assert airflow.begun == {"retrain__pets__v1__1a2b": 1, "retrain__birds__v1__1a2b": 1}


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_run_that_ended_and_left_its_images_new_is_run_again(look: Look, airflow: Airflow, state: str) -> None:
    look.start("pets")
    airflow.states["retrain__pets__v1__1a2b"] = state

    assert look.start("pets") == "started"
    assert airflow.begun == {"retrain__pets__v1__1a2b": 2}


def test_what_is_to_be_run_once_is_not_run_again(look: Look, airflow: Airflow) -> None:
    assert look.start("pets", once=True) == "started"
    airflow.states["retrain__pets__v1__1a2b"] = "failed"

    assert look.start("pets", once=True) == "pets: retrain__pets__v1__1a2b was started already."
    assert look.start("pets", "3c4d") == "started", "another run is not held up"


def test_a_run_that_has_not_ended_by_its_deadline_is_late(look: Look, airflow: Airflow) -> None:
    assert look.start("birds") == "started"
    assert look.start("pets", once=True, deadline_hours=6) == "started"

    soon, late = (look.late_at(dataset) for dataset in DATASETS)
    assert soon is None
    assert late is not None
    assert timedelta(hours=5.9) < late - datetime.now(UTC) <= timedelta(hours=6)
    airflow.states["retrain__pets__v1__1a2b"] = "failed"
    assert look.start("pets", once=True, deadline_hours=9).endswith("was started already.")
    assert look.late_at("pets") == late


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("later", ["the same try again", "another look", "another look that finds more"])
def test_wherever_a_look_is_killed_each_dataset_gets_one_run(
    look: Look, airflow: Airflow, steps: int, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.steps_left = steps
    with pytest.raises(KilledError):
        for dataset in DATASETS:
            look.start(dataset)
    airflow.steps_left = None
    found = "3c4d" if later == "another look that finds more" else "1a2b"
    before = dict(airflow.states)

    for dataset in DATASETS:
        look.start(dataset, found)

    for dataset in DATASETS:
        assert len(airflow.unfinished(dataset)) <= 1
    assert set(airflow.begun.values()) == {1}
    if found == "1a2b":
        assert sorted(airflow.states) == ["retrain__birds__v1__1a2b", "retrain__pets__v1__1a2b"], before
