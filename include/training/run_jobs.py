"""The training jobs of one run: found by their names, those of a tuning job with few calls, and ranked."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from include.sagemaker.api import TRAINING, TUNING, JobKind, existing
from include.sagemaker.epochs import EpochMetrics, epochs_of_job, epochs_of_jobs, with_earlier
from include.sagemaker.job_results import JobResult, Part, describe_training_job, is_of_installation
from include.sagemaker.naming import Run, attempts_of_task, job_name, tags_of

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient


MOST_DESCRIBED = 100
"""Jobs of one tuning job that are described one by one, the best by AWS's value first; of the others the listing shows
enough."""
MOST_LOGS = MOST_DESCRIBED
"""Jobs of a run whose logs are read: all that do not belong to a search, then the best by AWS's value."""
THREADS = 8


@dataclass(frozen=True)
class RunJob:
    """A training job and the part it played; `trial` is the name of the base job's trial.

    `epochs` is what its log shows, if it was read.
    """

    result: JobResult
    part: Part
    trial: str = ""
    tuning_job: str | None = None
    epochs: tuple[EpochMetrics, ...] = ()


def training_attempts(
    sagemaker: SageMakerClient,
    run: Run,
    task_id: str,
    part: Part,
    *,
    output_bucket: str,
    map_index: int = -1,
    trial: str = "",
) -> list[RunJob]:
    """Every training job that a task of the run started, one for each attempt: failed and stopped ones too.

    Those that write to another bucket than `output_bucket` are another installation's.
    """
    found = _attempts(sagemaker, TRAINING, run, task_id, bucket=output_bucket, map_index=map_index)
    return [RunJob(JobResult.of_training_job(description), part, trial) for description in found]


def tuning_attempts(sagemaker: SageMakerClient, run: Run, task_id: str, *, output_bucket: str) -> list[RunJob]:
    """The training jobs of every tuning job that a task of the run started."""
    found = _attempts(sagemaker, TUNING, run, task_id, bucket=output_bucket)
    return [
        RunJob(result, "tuning", tuning_job=description[TUNING.name_field])
        for description in found
        for result in tuned_jobs(sagemaker, description)
    ]


def tuning_result(sagemaker: SageMakerClient, logs: CloudWatchLogsClient, tuning: Mapping[str, Any]) -> JobResult:
    """The result of a described tuning job; its best job is the one that left the best weights.

    AWS names the job with the best last epoch, which may have kept another one.
    """
    result = JobResult.of_tuning_job(tuning)
    jobs = with_epochs(logs, [RunJob(job, "tuning", tuning_job=result.name) for job in tuned_jobs(sagemaker, tuning)])
    ranked = rank(job for job in jobs if job.result.artifact and not unusable(job.result))
    if not ranked:
        return result
    best = ranked[0].result
    tuned = {name: best.hyperparameters[name] for name in result.hyperparameters if name in best.hyperparameters}
    return result.model_copy(
        update={
            "best_job": best.name,
            "hyperparameters": tuned,
            "metrics": best.metrics,
            "value": best.value,
            "kept_epoch": best.kept_epoch,
        }
    )


def tuned_jobs(sagemaker: SageMakerClient, tuning: Mapping[str, Any], most: int = MOST_DESCRIBED) -> list[JobResult]:
    """The training jobs of a described tuning job, by name.

    A page of the listing holds a hundred; the `most` best of them are described, a few at a time.
    """
    definition = tuning.get("TrainingJobDefinition") or {}
    summaries = listed_jobs(sagemaker, tuning["HyperParameterTuningJobName"])
    listed = {summary["TrainingJobName"]: JobResult.of_listed_job(summary, definition) for summary in summaries}
    completed = [job for job in listed.values() if job.status == "Completed" and job.value is not None]
    completed.sort(key=lambda job: (job.distance, job.training_seconds or 0, job.name))
    with ThreadPoolExecutor(THREADS) as pool:
        described = pool.map(lambda job: describe_training_job(sagemaker, job.name), completed[:most])
        listed |= {job.name: job for job in described}
    return [listed[name] for name in sorted(listed)]


def listed_jobs(sagemaker: SageMakerClient, tuning_job: str) -> Iterator[Mapping[str, Any]]:
    """The entries of ListTrainingJobsForHyperParameterTuningJob, a hundred a call."""
    paginator = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    pages = paginator.paginate(HyperParameterTuningJobName=tuning_job, PaginationConfig={"PageSize": 100})
    for page in pages:
        yield from page["TrainingJobSummaries"]


def with_epochs(logs: CloudWatchLogsClient, jobs: Sequence[RunJob]) -> list[RunJob]:
    """The same jobs with what their logs show: every epoch, and the value of the weights in the artifact.

    A job that took up the checkpoint of an earlier attempt has that one's epochs too; attempts come in their order. Of
    more than MOST_LOGS jobs the last ones stay as AWS reports them.
    """

    def place(job: RunJob) -> tuple[bool, float, str]:
        return job.part == "tuning", job.result.distance, job.result.name

    read = [job.result.name for job in sorted(jobs, key=place)[:MOST_LOGS] if not job.epochs]
    epochs = epochs_of_jobs(logs, read)
    attempts: dict[tuple[Part, str], list[Sequence[EpochMetrics]]] = defaultdict(list)
    completed: list[RunJob] = []
    for job in jobs:
        if own := epochs.get(job.result.name):
            before = attempts[job.part, job.trial] if job.part != "tuning" else []
            found = with_earlier(own, before)
            before.insert(0, found)
            job = replace(job, result=job.result.with_epochs(found), epochs=tuple(found))  # noqa: PLW2901
        completed.append(job)
    return completed


def epochs_of_attempt(sagemaker: SageMakerClient, logs: CloudWatchLogsClient, job: str) -> list[EpochMetrics]:
    """The epochs behind a job's model, those of earlier attempts of its task too if it took up their checkpoint."""
    own = epochs_of_job(logs, job)
    if not own or own[0].epoch == 0:
        return own
    return with_earlier(own, (epochs_of_job(logs, name) for name in reversed(_earlier_attempts(sagemaker, job))))


def _earlier_attempts(sagemaker: SageMakerClient, job: str) -> list[str]:
    """The names of the jobs that the task of a job started before it; none if it was not a task of ours."""
    arn = sagemaker.describe_training_job(TrainingJobName=job)["TrainingJobArn"]
    names = attempts_of_task(tags_of(sagemaker, arn))
    return names[: names.index(job)] if job in names else []


def rank(jobs: Iterable[RunJob]) -> list[RunJob]:
    """Usable jobs, the best first; of equal ones the cheapest."""
    return sorted(jobs, key=lambda job: (job.result.distance, billed_seconds(job.result), job.result.name))


def unusable(result: JobResult) -> str:
    """Why a job's model cannot be selected, empty if it can."""
    if result.status != "Completed":
        return f"{result.status}: {result.failure_reason}" if result.failure_reason else result.status
    if result.value is None:
        return f"reports no {result.objective.metric}"
    return "left no artifact" if result.role != "tuning" and not result.artifact else ""


def billed_seconds(result: JobResult) -> float:
    """The seconds billed for all machines of a job, above all others if they are unknown."""
    seconds = result.billable_seconds
    return math.inf if seconds is None else seconds * result.instance_count


def _attempts(
    sagemaker: SageMakerClient, kind: JobKind, run: Run, task_id: str, *, bucket: str, map_index: int = -1
) -> Iterator[Mapping[str, Any]]:
    """The jobs a task instance started: attempts are numbered without gaps."""
    for attempt in itertools.count(1):
        name = job_name(
            dag_id=run.dag_id,
            run_id=run.run_id,
            task_id=task_id,
            map_index=map_index,
            attempt=attempt,
            longest=kind.longest_name,
        )
        description = existing(getattr(sagemaker, kind.describe), **kind.named(name))
        if description is None:
            return
        if is_of_installation(description, bucket):
            yield description
