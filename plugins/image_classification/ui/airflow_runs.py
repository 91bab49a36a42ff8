"""What Airflow knows, read from its own database: runs of the DAGs, questions that wait for a person, deployments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import NEW_SESSION, provide_session
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from include.run_conf import dataset_named_by
from include.sagemaker.naming import Run

DAGS = (
    "image_classification",
    "build_dataset",
    "train_model",
    "retrain_on_new_images",
    "review_model",
    "deploy_endpoint",
    "evaluate_endpoint",
    "predict_images",
    "clean_up",
)
"""Those whose runs the pages show."""
MOST_RUNS = 300
ENDPOINT_ASSET = "image-endpoint"
"""The asset that every deployment announces."""
UNFINISHED = frozenset({"queued", "running"})
WAITING = ("deferred", "awaiting_input")
RETRAINING = "retrain_on_new_images"
TRIALS = "training.train"
"""The mapped task that trains a run's trials; each copy has the name of its trial."""


@dataclass(frozen=True)
class KnownRun:
    """A run of one of the DAGs; `dataset` is empty if its conf names none, `note` the first line of its note."""

    dag_id: str
    run_id: str
    state: str
    dataset: str
    started: datetime | None
    ended: datetime | None
    person: str
    note: str

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.state in UNFINISHED

    @property
    def path(self) -> str:
        """Of its page in Airflow."""
        return f"/dags/{self.dag_id}/runs/{self.run_id}"

    @property
    def short_name(self) -> str:
        """The name of its reports' folder."""
        return Run(self.dag_id, self.run_id).name


@dataclass(frozen=True)
class RunTasks:
    """A run, the names of its trials by their place, and its failed tasks, each with the path of its page."""

    run: KnownRun
    trials: Mapping[int, str]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Question:
    """A question that waits for a person, and the page in Airflow where it is answered."""

    dag_id: str
    run_id: str
    subject: str
    path: str
    since: datetime


@dataclass(frozen=True)
class DeploymentEvent:
    """That a run has deployed a version to an endpoint."""

    dag_id: str
    run_id: str
    endpoint: str
    arn: str
    at: datetime


@provide_session
def known_runs(*, session: Session = NEW_SESSION) -> tuple[KnownRun, ...]:
    """The latest runs, the newest first."""
    newest = (
        select(DagRun)
        .where(DagRun.dag_id.in_(DAGS))
        .options(joinedload(DagRun.dag_run_note))
        .order_by(DagRun.id.desc())
        .limit(MOST_RUNS)
    )
    return tuple(_known(run) for run in session.scalars(newest).unique())


@provide_session
def one_run(dag_id: str, run_id: str, *, session: Session = NEW_SESSION) -> RunTasks | None:
    """A run and what its tasks show; None if Airflow does not know it."""
    asked = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    run = session.scalar(asked.options(joinedload(DagRun.dag_run_note)))
    if run is None:
        return None
    tasks = select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
    trials, failed = {}, []
    for task in session.scalars(tasks.order_by(TaskInstance.end_date)):
        if task.task_id == TRIALS and task.rendered_map_index:
            trials[task.map_index] = str(task.rendered_map_index)
        if task.state == "failed":
            mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
            failed.append((task.task_id, f"/dags/{dag_id}/runs/{run_id}/tasks/{task.task_id}{mapped}"))
    return RunTasks(_known(run), trials, tuple(failed))


@provide_session
def waiting_questions(*, session: Session = NEW_SESSION) -> tuple[Question, ...]:
    """The questions without an answer, the oldest first."""
    unanswered = (
        select(HITLDetail, TaskInstance)
        .join(TaskInstance, HITLDetail.ti_id == TaskInstance.id)
        .where(HITLDetail.responded_at.is_(None), TaskInstance.dag_id.in_(DAGS), TaskInstance.state.in_(WAITING))
        .order_by(HITLDetail.created_at)
        .limit(MOST_RUNS)
    )
    return tuple(
        Question(
            dag_id=task.dag_id,
            run_id=task.run_id,
            subject=detail.subject,
            path=f"/dags/{task.dag_id}/runs/{task.run_id}/tasks/{task.task_id}/required_actions",
            since=detail.created_at,
        )
        for detail, task in session.execute(unanswered)
    )


@provide_session
def deployments(*, session: Session = NEW_SESSION) -> tuple[DeploymentEvent, ...]:
    """The latest deployments, the newest first."""
    announced = (
        select(AssetEvent)
        .join(AssetModel, AssetEvent.asset_id == AssetModel.id)
        .where(AssetModel.name == ENDPOINT_ASSET)
        .order_by(AssetEvent.id.desc())
        .limit(MOST_RUNS)
    )
    return tuple(
        DeploymentEvent(
            dag_id=event.source_dag_id or "",
            run_id=event.source_run_id or "",
            endpoint=str(event.extra.get("endpoint", "")),
            arn=str(event.extra.get("arn", "")),
            at=event.timestamp,
        )
        for event in session.scalars(announced)
    )


@provide_session
def paused_dags(*, session: Session = NEW_SESSION) -> frozenset[str]:
    """Those of the DAGs that are switched off: their runs wait."""
    found = session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(DAGS), DagModel.is_paused.is_(True)))
    return frozenset(found)


def of_dataset(runs: Iterable[KnownRun], dataset: str, dags: Collection[str] = DAGS) -> list[KnownRun]:
    """The runs for one dataset."""
    return [run for run in runs if run.dataset == dataset and run.dag_id in dags]


def _known(run: DagRun) -> KnownRun:
    return KnownRun(
        dag_id=run.dag_id,
        run_id=run.run_id,
        state=str(run.state),
        dataset=_dataset_of(run.conf or {}, run.run_id),
        started=run.start_date,
        ended=run.end_date,
        person=run.triggering_user_name or "",
        note=(run.note or "").partition("\n")[0],
    )


def _dataset_of(conf: Mapping[str, Any], run_id: str) -> str:
    """The dataset that a run's conf names; a retraining has it in its own name too."""
    named = dataset_named_by(conf)
    return run_id.split("__")[1] if not named and run_id.startswith("retrain__") else named
