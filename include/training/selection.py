"""Which model goes on: the best of a run's training jobs, and why it is the best."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.training.results import OBJECTIVE, JobResult, Part

if TYPE_CHECKING:
    from include.run_conf import RunConf
    from include.training.run_jobs import RunJob


FULL: tuple[Part, ...] = ("base", "tuned")
"""Jobs that train for as long as the run conf says, and are no part of a search."""


class NoUsableJobError(ValueError):
    """No job completed with the objective and an artifact; the message says what became of each."""


class SkippedJob(BaseModel):
    """A job that was not considered, and why."""

    model_config = ConfigDict(frozen=True)

    job: str
    reason: str


class BestModel(BaseModel):
    """The model that goes on: its job, what it reached, its artifact and everything its job was sent.

    `reason` says why it is the best, `trial` which trial it is, `dataset_uri` which dataset version it learned from.
    `label_set` is the fingerprint of its classes, known of a model that comes from the registry.
    """

    model_config = ConfigDict(frozen=True)

    job: str
    objective: str
    value: float
    artifact: str
    hyperparameters: dict[str, str]
    billable_seconds: int | None = None
    tuning_job: str | None = None
    trial: str = ""
    dataset_uri: str | None = None
    label_set: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Selection:
    """The best model, all usable jobs with the best first, and the others with their reason."""

    best: BestModel
    chosen: RunJob
    ranked: Sequence[RunJob]
    skipped: Sequence[SkippedJob]


def select_best(jobs: Iterable[RunJob], *, objective: str = OBJECTIVE, maximize: bool = True) -> Selection:
    """The best of `jobs` by the last value of `objective`.

    Equal values: the job that cost fewer seconds, then the name. Jobs that did not complete, or tell no objective or
    artifact, are skipped and named. Raises NoUsableJobError when none is left.
    """
    considered = list(jobs)
    reasons = {job.result.name: unusable(job.result, objective) for job in considered}
    skipped = [SkippedJob(job=name, reason=reason) for name, reason in reasons.items() if reason]
    ranked = rank([job for job in considered if not reasons[job.result.name]], objective, maximize=maximize)
    # The lower ranks of a large tuning job were listed and not described: they tell no artifact.
    best = next((job for job in ranked if job.result.artifact), None)
    if best is None:
        skipped += [SkippedJob(job=job.result.name, reason="left no artifact") for job in ranked]
        raise NoUsableJobError(_nothing_left(objective, skipped))
    result = best.result
    model = BestModel(
        job=result.name,
        objective=objective,
        value=result.metrics[objective],
        artifact=str(result.artifact),
        hyperparameters=result.hyperparameters,
        billable_seconds=result.billable_seconds,
        tuning_job=best.tuning_job,
        trial=best.trial,
        dataset_uri=result.dataset_uri,
        reason=_reason(ranked, objective, maximize=maximize),
    )
    return Selection(model, best, ranked, skipped)


def contenders(jobs: Sequence[RunJob], conf: RunConf) -> list[RunJob]:
    """The jobs of a run among which `training.continue_with` chooses.

    With `tune_then_train` the full job goes on, and the tuning job's best only where `tune` asks for it, or where
    `best` does and the full job cannot be used.
    """
    wanted, mode = conf.training.continue_with, conf.training.mode
    if mode == "tune_then_train" and wanted == "best" and any(_goes_on(job, FULL) for job in jobs):
        wanted = "train"
    parts: dict[str, tuple[Part, ...]] = {"train": FULL, "tune": ("tuning",), "best": (*FULL, "tuning")}
    return [job for job in jobs if job.part in parts[wanted]]


def _goes_on(job: RunJob, parts: Collection[Part]) -> bool:
    return job.part in parts and not unusable(job.result)


def rank(jobs: Iterable[RunJob], objective: str = OBJECTIVE, *, maximize: bool = True) -> list[RunJob]:
    """Usable jobs, the best first; of equal ones the cheapest."""

    def key(job: RunJob) -> tuple[float, float, str]:
        value = job.result.metrics[objective]
        return (-value if maximize else value, _seconds(job.result), job.result.name)

    return sorted(jobs, key=key)


def unusable(result: JobResult, objective: str = OBJECTIVE) -> str:
    """Why a job's model cannot go on, empty where it can."""
    if result.status != "Completed":
        return f"{result.status}: {result.failure_reason}" if result.failure_reason else result.status
    if not math.isfinite(result.metrics.get(objective, math.nan)):
        return f"tells no {objective}"
    return "left no artifact" if result.role != "tuning" and not result.artifact else ""


def _seconds(result: JobResult) -> float:
    seconds = result.billable_seconds
    return math.inf if seconds is None else seconds * result.instance_count


def _reason(ranked: Sequence[RunJob], objective: str, *, maximize: bool) -> str:
    usable = [job.result for job in ranked if job.result.artifact]
    best, value = usable[0], usable[0].metrics[objective]
    if len(usable) == 1:
        return f"{objective} {value:.4f}, the only usable job"
    second = usable[1]
    if second.metrics[objective] != value:
        most = "highest" if maximize else "lowest"
        return f"the {most} {objective}: {value:.4f}, then {second.name} with {second.metrics[objective]:.4f}"
    equal = sum(job.metrics[objective] == value for job in usable)
    if _seconds(best) < _seconds(second):
        return (
            f"{objective} {value:.4f} as {equal} jobs have it, and the cheapest of them: {_seconds(best):.0f} billable "
            f"seconds, then {second.name} with {_told(second)}"
        )
    return f"{objective} {value:.4f} at the same cost as {second.name}: the first by name"


def _told(result: JobResult) -> str:
    seconds = _seconds(result)
    return f"{seconds:.0f}" if math.isfinite(seconds) else "unknown"


def _nothing_left(objective: str, skipped: Sequence[SkippedJob]) -> str:
    if not skipped:
        return "There is no training job to choose from: check that the training tasks of this run ended."
    reasons = "\n".join(f"  {skip.job}: {skip.reason}" for skip in skipped)
    return f"No training job completed with {objective}:\n{reasons}\nPut right what they failed on and run again."
