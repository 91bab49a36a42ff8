"""How all training jobs of a run compare: what they were sent, what each epoch reached, what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.sagemaker.epochs import EpochMetrics, first_epoch_accuracy
from include.sagemaker.job_results import OBJECTIVE, JobResult, Part
from include.training.run_jobs import RunJob, rank, unusable, with_epochs

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

    from include.training.best_model import BestModel


class LeaderboardJob(BaseModel):
    """One training job; `place` counts from 1 among those whose model can be used.

    `objective` is the validation accuracy of the weights in the artifact, and `kept_epoch` the epoch they are of,
    counted from 1. `dataset` is NAME/VERSION, `metrics` holds the last value of each, as AWS reports it, `epochs` what
    the log shows where it was read. `seconds` and `billable_seconds` are those of one machine, `cost` is in USD for all
    of them; `reason` says why a job's model cannot be used.
    """

    model_config = ConfigDict(frozen=True)

    place: int | None
    job: str
    part: Part
    trial: str = ""
    tuning_job: str | None = None
    dataset: str = ""
    status: str
    objective: float | None
    kept_epoch: int | None = None
    hyperparameters: dict[str, str]
    metrics: dict[str, float]
    epochs: tuple[EpochMetrics, ...] = ()
    instance_type: str | None = None
    instance_count: int = 1
    seconds: int | None = None
    billable_seconds: int | None = None
    cost: float | None = None
    reason: str = ""

    @property
    def first_epoch(self) -> float | None:
        """The validation accuracy after the first epoch."""
        return first_epoch_accuracy(self.epochs)


class Leaderboard(BaseModel):
    """All training jobs of a run, the best first, those that cannot be used last.

    `best` is the job whose model was selected and `reason` says why. `final` is the job whose model the run ends with:
    the incremental one if there is one; None if the run has no such model. `billable_seconds` and `cost` are sums over
    the run's own jobs, `cost` None where a price is not known.
    """

    model_config = ConfigDict(frozen=True)

    objective: str
    best: str | None
    final: str | None = None
    reason: str = ""
    billable_seconds: int
    cost: float | None
    jobs: tuple[LeaderboardJob, ...]

    def job(self, name: str) -> LeaderboardJob | None:
        """The job of this name."""
        return next((job for job in self.jobs if job.job == name), None)

    def varied(self) -> list[str]:
        """The hyperparameters in which the jobs differ."""
        sent = [job.hyperparameters for job in self.jobs]
        names = dict.fromkeys(name for parameters in sent for name in parameters)
        return sorted(name for name in names if len({parameters.get(name) for parameters in sent}) > 1)

    def shared(self) -> dict[str, str]:
        """The hyperparameters that all jobs were sent alike."""
        varied = set(self.varied())
        first = self.jobs[0].hyperparameters if self.jobs else {}
        return {name: value for name, value in first.items() if name not in varied}

    def first_epochs(self) -> Iterator[str]:
        """Each incremental job against the job whose model it trained further, both after their first epoch."""
        base = self.job(self.best) if self.best else None
        for job in self.jobs:
            if job.part == "incremental" and base is not None:
                yield (
                    f"Validation accuracy after the first epoch: incremental {job.job} {_told(job.first_epoch)}, "
                    f"{base.part} {base.job} {_told(base.first_epoch)}."
                )


def final_job(jobs: Sequence[RunJob], best: BestModel | None, *, trains_further: bool) -> str | None:
    """The job whose model a run ends with: the incremental one if the run `trains_further`, else the selected one."""
    if best is None or not trains_further:
        return best.job if best else None
    done = [job.result.name for job in jobs if job.part == "incremental" and job.result.status == "Completed"]
    return done[-1] if done else None


def read_leaderboard(
    logs: CloudWatchLogsClient,
    jobs: Sequence[RunJob],
    *,
    best: BestModel | None,
    final: str | None,
    prices: Mapping[str, float],
) -> Leaderboard:
    """Compare `jobs`; the logs of the best of them are read a few at a time.

    `best` is the model that was selected, `final` the job that `final_job` names, `prices` are USD an hour by instance
    type.
    """
    jobs = with_epochs(logs, jobs)
    usable = rank(job for job in jobs if not unusable(job.result))
    others = sorted((job for job in jobs if unusable(job.result)), key=lambda job: job.result.name)
    places = {job.result.name: place for place, job in enumerate(usable, start=1)}
    entries = [_entry(job, places.get(job.result.name), prices) for job in (*usable, *others)]
    own = [entry for entry in entries if entry.part != "parent"]
    costs = [entry.cost for entry in own]
    known = [cost for cost in costs if cost is not None]
    return Leaderboard(
        objective=OBJECTIVE,
        best=best.job if best else None,
        final=final,
        reason=best.reason if best else "",
        billable_seconds=sum((entry.billable_seconds or 0) * entry.instance_count for entry in own),
        cost=round(sum(known), 4) if own and len(known) == len(costs) else None,
        jobs=tuple(entries),
    )


def cost_of(result: JobResult, prices: Mapping[str, float]) -> float | None:
    """USD that a job cost, its volume left out; None where its price or its seconds are not known."""
    price = prices.get(result.instance_type or "")
    if price is None or result.billable_seconds is None:
        return None
    return round(price * result.instance_count * result.billable_seconds / 3600, 4)


def _entry(job: RunJob, place: int | None, prices: Mapping[str, float]) -> LeaderboardJob:
    result = job.result
    return LeaderboardJob(
        place=place,
        job=result.name,
        part=job.part,
        trial=job.trial,
        tuning_job=job.tuning_job,
        dataset="/".join((result.dataset_uri or "").rstrip("/").split("/")[-2:]),
        status=result.status,
        objective=result.accuracy,
        kept_epoch=result.kept_epoch,
        hyperparameters=result.hyperparameters,
        metrics=result.metrics,
        epochs=job.epochs,
        instance_type=result.instance_type,
        instance_count=result.instance_count,
        seconds=result.training_seconds,
        billable_seconds=result.billable_seconds,
        cost=cost_of(result, prices),
        reason=unusable(result),
    )


def _told(value: float | None) -> str:
    return "not in its log" if value is None else f"{value:.4f}"
