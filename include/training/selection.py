"""Which model is the best of a tuning job's and of any other training jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.training.results import OBJECTIVE, JobResult, describe_training_job

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient


class NoUsableJobError(ValueError):
    """No job completed with the objective and an artifact; the message says what became of each."""


class SkippedJob(BaseModel):
    """A job that was not considered, and why."""

    model_config = ConfigDict(frozen=True)

    job: str
    reason: str


class Candidate(BaseModel):
    """A job that was considered."""

    model_config = ConfigDict(frozen=True)

    job: str
    value: float
    hyperparameters: dict[str, str]
    billable_seconds: int | None = None


class BestModel(BaseModel):
    """The model that goes on: its job, what it reached, its artifact and everything its job was sent.

    `leaderboard` holds the considered jobs, the best first; `skipped` the others with their reason. `label_set` is the
    fingerprint of its classes, known of a model that comes from the registry.
    """

    model_config = ConfigDict(frozen=True)

    job: str
    objective: str
    value: float
    artifact: str
    hyperparameters: dict[str, str]
    billable_seconds: int | None = None
    tuning_job: str | None = None
    label_set: str | None = None
    leaderboard: tuple[Candidate, ...] = ()
    skipped: tuple[SkippedJob, ...] = ()


def select_best(
    sagemaker: SageMakerClient,
    *,
    tuning_job: str | None = None,
    training_jobs: Iterable[str] = (),
    objective: str = OBJECTIVE,
    maximize: bool = True,
) -> BestModel:
    """The best of a tuning job's training jobs and of `training_jobs`, by the last value of `objective`.

    Equal values: the job that cost fewer seconds, then the name. Jobs that did not complete, or tell no objective or
    artifact, are skipped and named. Raises NoUsableJobError when none is left.
    """
    children = frozenset(training_jobs_of(sagemaker, tuning_job)) if tuning_job else frozenset()
    names = sorted({*children, *training_jobs})
    results = [describe_training_job(sagemaker, name) for name in names]
    skipped = tuple(
        SkippedJob(job=result.name, reason=reason) for result in results if (reason := _unusable(result, objective))
    )
    left_out = {skip.job for skip in skipped}
    usable = [result for result in results if result.name not in left_out]
    if not usable:
        raise NoUsableJobError(_nothing_left(tuning_job, objective, skipped))
    ranked = sorted(usable, key=lambda result: _rank(result, objective, maximize=maximize))
    best = ranked[0]
    return BestModel(
        job=best.name,
        objective=objective,
        value=best.metrics[objective],
        artifact=str(best.artifact),
        hyperparameters=best.hyperparameters,
        billable_seconds=best.billable_seconds,
        tuning_job=tuning_job if best.name in children else None,
        leaderboard=tuple(_candidate(result, objective) for result in ranked),
        skipped=skipped,
    )


def training_jobs_of(sagemaker: SageMakerClient, tuning_job: str) -> Iterator[str]:
    """The names of the training jobs a tuning job started."""
    paginator = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    for page in paginator.paginate(HyperParameterTuningJobName=tuning_job):
        yield from (summary["TrainingJobName"] for summary in page["TrainingJobSummaries"])


def _unusable(result: JobResult, objective: str) -> str | None:
    if result.status != "Completed":
        return f"{result.status}: {result.failure_reason}" if result.failure_reason else result.status
    if not math.isfinite(result.metrics.get(objective, math.nan)):
        return f"tells no {objective}"
    return None if result.artifact else "left no artifact"


def _rank(result: JobResult, objective: str, *, maximize: bool) -> tuple[float, float, str]:
    value = result.metrics[objective]
    cost = math.inf if result.billable_seconds is None else result.billable_seconds
    return (-value if maximize else value, cost, result.name)


def _candidate(result: JobResult, objective: str) -> Candidate:
    return Candidate(
        job=result.name,
        value=result.metrics[objective],
        hyperparameters=result.hyperparameters,
        billable_seconds=result.billable_seconds,
    )


def _nothing_left(tuning_job: str | None, objective: str, skipped: tuple[SkippedJob, ...]) -> str:
    where = f" of tuning job {tuning_job}" if tuning_job else ""
    if not skipped:
        return f"There is no training job{where} to choose from: check that the training tasks of this run ended."
    reasons = "\n".join(f"  {skip.job}: {skip.reason}" for skip in skipped)
    return (
        f"No training job{where} completed with {objective}:\n{reasons}\nPut right what they failed on and run again."
    )
