"""The account of jobs that cost money, and of registered versions: those that runs intended beside those on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from include.sagemaker.naming import LONGEST_NAME, job_name
from tests.support.world import World

MOST_ATTEMPTS = 9
MAY_BE_FOLLOWED = frozenset({"Failed", "Stopped"})
OVER = frozenset({"Completed", "Failed", "Stopped"})


@dataclass(frozen=True)
class IntendedJob:
    """One job that every run of a DAG intends: the task that starts it, and its place among the mapped ones."""

    dag_id: str
    task_id: str
    map_index: int = -1
    longest: int = LONGEST_NAME

    def name(self, run_id: str, attempt: int) -> str:
        """The name of an attempt."""
        return job_name(
            dag_id=self.dag_id,
            run_id=run_id,
            task_id=self.task_id,
            map_index=self.map_index,
            attempt=attempt,
            longest=self.longest,
        )


TUNED_JOBS = 2
"""How many training jobs each tuning job is told to start."""


@dataclass(frozen=True)
class Job:
    """A job as the local AWS remembers it."""

    name: str
    status: str
    created: datetime
    ended: datetime | None
    parent: str | None = None

    def lived_at(self, moment: datetime) -> bool:
        return self.created < moment and (self.ended is None or self.ended > moment)


def jobs_on_record(world: World) -> dict[str, Job]:
    """Every training, tuning and transform job by its name."""
    described = [*_described(world, "training_job", "TrainingJob"), *_tuning_jobs(world)]
    described += _described(world, "transform_job", "TransformJob")
    return {job.name: job for job in described}


def versions_on_record(world: World) -> dict[str, list[str]]:
    """The ARNs of the versions that each run registered."""
    sagemaker = world.sagemaker
    found: dict[str, list[str]] = defaultdict(list)
    for groups in sagemaker.get_paginator("list_model_package_groups").paginate():
        for group in groups["ModelPackageGroupSummaryList"]:
            name = group["ModelPackageGroupName"]
            for page in sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=name):
                for package in page["ModelPackageSummaryList"]:
                    described = sagemaker.describe_model_package(ModelPackageName=package["ModelPackageArn"])
                    found[described["CustomerMetadataProperties"]["run"]].append(package["ModelPackageArn"])
    return found


def _tuning_jobs(world: World) -> Iterator[Job]:
    pages = world.sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate()
    for page in pages:
        for job in page["HyperParameterTuningJobSummaries"]:
            yield Job(
                job["HyperParameterTuningJobName"],
                job["HyperParameterTuningJobStatus"],
                job["CreationTime"],
                job.get("HyperParameterTuningEndTime"),
            )


def _described(world: World, action: str, subject: str) -> Iterator[Job]:
    describe = getattr(world.sagemaker, f"describe_{action}")
    for page in world.sagemaker.get_paginator(f"list_{action}s").paginate():
        for summary in page[f"{subject}Summaries"]:
            job = describe(**{f"{subject}Name": summary[f"{subject}Name"]})
            parent = job.get("TuningJobArn", "").rpartition("/")[2] or None
            status = job[f"{subject}Status"]
            ended = summary.get(f"{subject.removesuffix('Job')}EndTime") or summary["LastModifiedTime"]
            yield Job(job[f"{subject}Name"], status, job["CreationTime"], ended if status in OVER else None, parent)


@dataclass(frozen=True)
class Account:
    """What became of one intended job of one run: the state of its task, and its attempts, oldest first."""

    run_id: str
    intended: IntendedJob
    state: str | None
    attempts: Sequence[Job]

    @property
    def completed(self) -> int:
        return sum(job.status == "Completed" for job in self.attempts)

    def faults(self) -> Iterator[str]:
        """What must not be: a second job while the first lives or after it was done, and a result of no job."""
        where = f"{self.run_id} {self.intended.task_id}"
        for earlier, later in zip(self.attempts, self.attempts[1:], strict=False):
            if earlier.status not in MAY_BE_FOLLOWED:
                yield f"{where}: {later.name} was created although {earlier.name} is {earlier.status}"
            if earlier.lived_at(later.created):
                yield f"{where}: {later.name} was created while {earlier.name} lived"
        if self.completed != 1 if self.state == "success" else self.completed > 1:
            yield f"{where}: the task is {self.state} with {self.completed} completed jobs"
        yield from (f"{where}: {job.name} is {job.status}" for job in self.attempts if job.status not in OVER)


def account_of(run_id: str, intended: IntendedJob, state: str | None, jobs: dict[str, Job]) -> Account:
    """Find the attempts of one intended job; attempts are numbered without gaps."""
    names = [intended.name(run_id, attempt) for attempt in range(1, MOST_ATTEMPTS + 1)]
    return Account(run_id, intended, state, [jobs[name] for name in names if name in jobs])


def strays(accounts: Sequence[Account], jobs: dict[str, Job]) -> list[str]:
    """Jobs that nobody intended, and tuning jobs that did not train what they were told to."""
    known = {job.name for account in accounts for job in account.attempts}
    unknown = [f"{job.name}: nobody intended it" for job in jobs.values() if (job.parent or job.name) not in known]
    tuned = [
        f"{job.name}: a completed tuning job with {count} training jobs"
        for account in accounts
        for job in account.attempts
        if account.intended.task_id.endswith(".tune")
        and job.status == "Completed"
        and (count := sum(other.parent == job.name for other in jobs.values())) != TUNED_JOBS
    ]
    return [*unknown, *tuned]
