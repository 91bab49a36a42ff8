"""The pages of runs and of training jobs: what a run trains while it runs, and the jobs of a dataset over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.status import HTTP_404_NOT_FOUND

from image_classification.ui import airflow_runs
from image_classification.ui.access import readable_dags
from image_classification.ui.airflow_runs import RunTasks
from image_classification.ui.charts import MOST_LINES, Line, line_chart
from image_classification.ui.installation import Installation
from image_classification.ui.overview import visible_runs
from image_classification.ui.rendering import page
from image_classification.ui.sorting import Column, Sorting, as_value
from include.catalog import FOREVER, Seen
from include.catalog.training_jobs import KnownJob, jobs_of_dataset, jobs_of_run, ranked, varied, with_logs
from include.sagemaker.epochs import EpochMetrics, read_epochs
from include.sagemaker.naming import Run

if TYPE_CHECKING:
    from image_classification.ui.installation import Connected

router = APIRouter()

FIRST_WAIT = 0.4
REFRESH_SECONDS, RUNNING_SECONDS, IDLE_SECONDS = 5, 5.0, 30.0
LATEST = 10
"""Runs of a dataset that its page shows; the page of all runs has more."""
MOST_LOGS = 40
"""Jobs of a run whose logs are read, those that run and then the best: of the others AWS's last value is shown."""
LATEST_LINES = timedelta(minutes=5)
"""How long after a job's end lines of its log may still come."""
PARTS = {
    "base": "from scratch",
    "tuning": "search",
    "tuned": "best of the search",
    "incremental": "incremental",
    "parent": "earlier run",
}


@router.get("/runs", response_class=HTMLResponse)
def runs(request: Request, user: GetUserDep, dataset: str = "") -> HTMLResponse:
    """The latest runs, of one dataset if it is named."""
    found = visible_runs(Installation.of(request), readable_dags(user))
    return page(
        request,
        "runs.html",
        title="Runs",
        tab="runs",
        refresh=REFRESH_SECONDS,
        runs=airflow_runs.of_dataset(found, dataset) if dataset else found,
        names=sorted({run.dataset for run in found if run.dataset}),
        chosen=dataset,
    )


@router.get("/runs/{dag_id}/{run_id}", response_class=HTMLResponse)
def one(request: Request, dag_id: str, run_id: str, user: GetUserDep) -> HTMLResponse:
    """A run: its jobs, the best first, and what each epoch has reached so far."""
    if dag_id not in readable_dags(user):
        raise HTTPException(HTTP_404_NOT_FOUND, f"There is no run {run_id} of a DAG {dag_id} that you may read.")
    installation = Installation.of(request)
    connected = installation.connected()
    known = installation.quick.see(
        ("run", dag_id, run_id), partial(airflow_runs.one_run, dag_id, run_id), seconds=3, wait=FIRST_WAIT
    )

    def look() -> tuple[KnownJob, ...]:
        asked = Run(dag_id, run_id)
        return jobs_of_run(connected.client("sagemaker"), connected.settings, asked, connected.price)

    found = installation.quick.see(("jobs of run", dag_id, run_id), look, seconds=_until_changed, wait=FIRST_WAIT)
    if known.at and known.answer is None and found.answer == ():
        raise HTTPException(HTTP_404_NOT_FOUND, f"There is no run {run_id} of {dag_id}, and no job has its tags.")
    run = known.answer.run if known.answer else None
    logs, unread = _logs(installation, connected, found.answer or ())
    jobs = ranked(with_logs(found.answer or (), logs))
    goes_on = (run is None or run.is_unfinished) or any(job.is_unfinished for job in jobs)
    costs = [job.cost for job in jobs]
    return page(
        request,
        "run.html",
        title=f"Run {run_id}",
        tab="runs",
        refresh=REFRESH_SECONDS if goes_on else IDLE_SECONDS,
        dag_id=dag_id,
        run_id=run_id,
        known=known,
        run=run,
        failed=known.answer.failed if known.answer else (),
        reports=Run(dag_id, run_id).name,
        found=found,
        jobs=jobs,
        names=_names(jobs, known.answer),
        unread=unread,
        parts=PARTS if len({job.part for job in jobs}) > 1 else {},
        varied=varied(jobs),
        cost=sum(cost for cost in costs if cost is not None) if any(cost is not None for cost in costs) else None,
        unpriced=None in costs,
        curves=_curves(jobs, _names(jobs, known.answer)),
        not_drawn=max(0, sum(bool(_points(job)) for job in jobs) - MOST_LINES),
    )


@router.get("/datasets/{dataset}/jobs", response_class=HTMLResponse)
def jobs(request: Request, dataset: str, user: GetUserDep, sort: str = "created", up: bool = False) -> HTMLResponse:
    """The training jobs of a dataset; `sort` names a column, the largest values come first unless `up` is given."""
    installation = Installation.of(request)
    connected = installation.connected()

    def look() -> tuple[KnownJob, ...]:
        return jobs_of_dataset(connected.client("sagemaker"), connected.settings, dataset, connected.price)

    found = installation.quick.see(("jobs", dataset), look, seconds=_until_changed, wait=FIRST_WAIT)
    listed = found.answer or ()
    names = varied(listed)
    sorting = Sorting.of([*COLUMNS, *map(_hyperparameter, names), *LAST_COLUMNS], sort, up=up)
    readable = readable_dags(user)
    return page(
        request,
        "jobs.html",
        title=f"Runs and jobs of {dataset}",
        tab="jobs",
        dataset=dataset,
        refresh=REFRESH_SECONDS if any(job.is_unfinished for job in listed) else IDLE_SECONDS,
        runs=airflow_runs.of_dataset(visible_runs(installation, readable), dataset)[:LATEST],
        found=found,
        jobs=sorting.rows(listed),
        headings=sorting.headings(),
        varied=names,
        parts=PARTS,
        readable=readable,
        metrics=sorted({job.result.objective.metric for job in listed}),
        over_time=_over_time(listed),
    )


COLUMNS: tuple[Column[KnownJob], ...] = (
    Column("created", "Started", lambda job: job.created),
    Column("job", "Job", lambda job: job.name),
    Column("part", "For", lambda job: job.part),
    Column("status", "Status", lambda job: job.result.status),
    Column("metric", "Metric", lambda job: job.result.value, is_number=True),
)
LAST_COLUMNS: tuple[Column[KnownJob], ...] = (
    Column("cost", "Cost", lambda job: job.cost, is_number=True),
    Column("seconds", "Seconds billed", lambda job: job.seconds, is_number=True),
    Column("machine", "Machine", lambda job: job.result.instance_type),
    Column("version", "Dataset version", lambda job: job.version),
)


def _hyperparameter(name: str) -> Column[KnownJob]:
    return Column(f"hp-{name}", name, lambda job: as_value(job.result.readable_hyperparameters.get(name)))


def _until_changed(jobs: Sequence[KnownJob]) -> float:
    return RUNNING_SECONDS if not jobs or any(job.is_unfinished for job in jobs) else IDLE_SECONDS


def _logs(
    installation: Installation, connected: Connected, jobs: Sequence[KnownJob]
) -> tuple[Mapping[str, Sequence[EpochMetrics]], int]:
    """The epochs in the logs of the jobs that count most, and how many logs are still being read.

    A finished job's log is read once.
    """
    chosen = sorted(jobs, key=lambda job: (not job.is_unfinished, job.result.distance))[:MOST_LOGS]
    found, unread = {}, 0
    for job in chosen:
        look = partial(_epochs, connected, job.name)
        ended = job.result.ended
        is_whole = ended is not None and datetime.now(UTC) - ended > LATEST_LINES
        seconds = FOREVER if is_whole else RUNNING_SECONDS
        seen: Seen[list[EpochMetrics]] = installation.slow.see(
            ("epochs", job.name), look, seconds=seconds, wait=FIRST_WAIT / len(chosen)
        )
        unread += seen.is_awaited
        if seen.answer:
            found[job.name] = seen.answer
    return found, unread


def _epochs(connected: Connected, job: str) -> list[EpochMetrics]:
    return read_epochs(connected.client("logs"), job)


def _names(jobs: Sequence[KnownJob], known: RunTasks | None) -> dict[str, str]:
    """A short name of each job: its trial's, or what it was for."""
    trials = known.trials if known else {}
    names: dict[str, str] = {}
    for job in sorted(jobs, key=lambda job: (job.created, job.name)):
        if job.tuning_job:
            name = f"search {job.name.removeprefix(job.tuning_job).strip('-').partition('-')[0]}"
        elif job.map_index is not None:
            name = trials.get(job.map_index, f"trial {job.map_index + 1}")
        else:
            name = PARTS[job.part]
        attempts = sum(other == name or other.startswith(f"{name}, attempt") for other in names.values())
        names[job.name] = f"{name}, attempt {attempts + 1}" if attempts else name
    return names


def _points(job: KnownJob) -> list[tuple[float, float]]:
    """What the job's objective was after each epoch, counted from 1."""
    values = ((epoch.epoch + 1, epoch.metrics.get(job.result.objective.metric)) for epoch in job.epochs)
    return [(epoch, value) for epoch, value in values if value is not None]


def _curves(jobs: Sequence[KnownJob], names: Mapping[str, str]) -> Any:
    """A curve for each of the best jobs; a job keeps its colour whatever it reaches."""
    metrics = {job.result.objective.metric for job in jobs}
    title = f"{metrics.pop()} by epoch" if len(metrics) == 1 else "Objective by epoch"
    drawn = [job for job in jobs if job.epochs][:MOST_LINES]
    lines = [Line(names[job.name], _points(job)) for job in sorted(drawn, key=lambda job: (job.created, job.name))]
    share = all(0 <= value <= 1 for line in lines for _, value in line.points)
    return line_chart(title, lines, share=share)


def _over_time(jobs: Sequence[KnownJob]) -> Any:
    """What jobs have reached, by when they started: a colour for each kind of job."""
    known = sorted((job for job in jobs if job.result.value is not None), key=lambda job: job.created)
    if len(known) < 2:
        return ""
    days = [f"{job.created:%Y-%m-%d}" for job in known]
    parts: dict[str, list[tuple[float, float]]] = {}
    for place, job in enumerate(known):
        parts.setdefault(PARTS[job.part], []).append((place, job.result.value or 0.0))
    share = all(0 <= value <= 1 for points in parts.values() for _, value in points)
    lines = [Line(name, points) for name, points in sorted(parts.items())]
    return line_chart("Reached, job after job", lines, share=share, ticks=days, dots=True)
