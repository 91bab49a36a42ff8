"""A tuning job: its definitions, the training jobs it started, and how the API describes them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.failures import LONGEST_REASON
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.training.job import FINISHED, TrainingJob
from local_aws.sagemaker.tuning.search_space import SearchSpace
from local_aws.sagemaker.tuning.strategies import Goal, Proposal, Search, is_better


@dataclass(frozen=True)
class Definition:
    """One training job definition with its ranges and objective; `search` proposes for it."""

    document: Document
    space: SearchSpace
    search: Search

    @property
    def goal(self) -> Goal:
        """Maximize or Minimize."""
        goal: Goal = self.document["TuningObjective"]["Type"]
        return goal

    @property
    def metric(self) -> str:
        """The objective metric's name."""
        return str(self.document["TuningObjective"]["MetricName"])


@dataclass
class TunedJob:
    """One training job of a tuning job, listed as any other resource."""

    definition: Definition
    proposal: Proposal
    job: TrainingJob
    judged_epochs: int = 0
    concluded: bool = False

    @property
    def name(self) -> str:
        """The training job's name."""
        return self.job.name

    @property
    def status(self) -> str:
        """The training job's status."""
        return self.job.status

    @property
    def creation_time(self) -> datetime:
        """When the training job was created."""
        return self.job.creation_time

    @property
    def last_modified_time(self) -> datetime:
        """When the training job last changed."""
        return self.job.last_modified_time

    @property
    def is_over(self) -> bool:
        """Whether the training job has ended."""
        return self.status in FINISHED

    @property
    def value(self) -> float | None:
        """The final objective of a job that did not fail; None where its metric never came, or is not a number."""
        if self.job.status not in ("Completed", "Stopped"):
            return None
        last = self.job.metrics.last(self.definition.metric)
        return last.value if last is not None and math.isfinite(last.value) else None

    @property
    def curve(self) -> list[float]:
        """The objective so far, epoch by epoch."""
        return self.job.metrics.history(self.definition.metric)

    @property
    def objective_status(self) -> str:
        """Pending while the job runs, then Succeeded with an objective or Failed without."""
        if not self.is_over:
            return "Pending"
        return "Failed" if self.value is None else "Succeeded"

    def summary(self, tuning_job: str | None = None) -> Document:
        """The job as ListTrainingJobsForHyperParameterTuningJob gives it."""
        value = self.value
        objective = {"Type": self.definition.goal, "MetricName": self.definition.metric, "Value": value}
        return {
            "TrainingJobDefinitionName": self.definition.document.get("DefinitionName"),
            "TrainingJobName": self.job.name,
            "TrainingJobArn": self.job.arn,
            "TuningJobName": tuning_job,
            "CreationTime": self.job.creation_time,
            "TrainingStartTime": self.job.start_time,
            "TrainingEndTime": self.job.end_time,
            "TrainingJobStatus": self.job.status,
            "TunedHyperParameters": self.proposal.hyperparameters,
            "FailureReason": self.job.failure_reason,
            "FinalHyperParameterTuningJobObjectiveMetric": objective if value is not None else None,
            "ObjectiveStatus": self.objective_status,
        }


@dataclass
class TuningJob:
    """The record of a tuning job; its run moves it on, and any thread may describe it."""

    name: str
    arn: str
    request: Document
    definitions: list[Definition]
    parents: list[TuningJob] = field(default_factory=list)
    status: str = "InProgress"
    failure_reason: str | None = None
    creation_time: datetime = field(default_factory=now)
    last_modified_time: datetime = field(default_factory=now)
    end_time: datetime | None = None
    jobs: list[TunedJob] = field(default_factory=list)
    not_improving: int = 0
    converged_time: datetime | None = None
    changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def is_over(self) -> bool:
        """Whether the tuning job has ended."""
        return self.status in FINISHED

    @property
    def warm_start_type(self) -> str | None:
        """IdenticalDataAndAlgorithm or TransferLearning, None without parents."""
        return (self.request.get("WarmStartConfig") or {}).get("WarmStartType")

    def started(self) -> list[TunedJob]:
        """The training jobs started so far."""
        with self.changed:
            return list(self.jobs)

    def best(self) -> TunedJob | None:
        """The training job with the best objective so far."""
        return _best(self.started())

    def turn(self, status: str, reason: str | None = None) -> None:
        """Enter a status; Completed, Failed and Stopped end the job."""
        with self.changed:
            self.status = status
            self.failure_reason = reason[:LONGEST_REASON] if reason else None
            self.last_modified_time = now()
            if self.is_over:
                self.end_time = self.last_modified_time
            self.changed.notify_all()

    def summary(self) -> Document:
        """The job as ListHyperParameterTuningJobs gives it."""
        config = self.request["HyperParameterTuningJobConfig"]
        jobs = self.started()
        return {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobArn": self.arn,
            "HyperParameterTuningJobStatus": self.status,
            "Strategy": config["Strategy"],
            "CreationTime": self.creation_time,
            "HyperParameterTuningEndTime": self.end_time,
            "LastModifiedTime": self.last_modified_time,
            "TrainingJobStatusCounters": _status_counters(jobs),
            "ObjectiveStatusCounters": _objective_counters(jobs),
            "ResourceLimits": config["ResourceLimits"],
        }

    def describe(self) -> Document:
        """The job as DescribeHyperParameterTuningJob gives it."""
        summary = self.summary()
        del summary["Strategy"], summary["ResourceLimits"]
        best, overall = self.best(), self._overall_best()
        seconds = sum((_runtime_seconds(job) for job in self.started()), 0)
        return {
            **summary,
            "HyperParameterTuningJobConfig": self.request["HyperParameterTuningJobConfig"],
            "TrainingJobDefinition": self.request.get("TrainingJobDefinition"),
            "TrainingJobDefinitions": self.request.get("TrainingJobDefinitions"),
            "WarmStartConfig": self.request.get("WarmStartConfig"),
            "BestTrainingJob": best.summary() if best else None,
            "OverallBestTrainingJob": overall[1].summary(overall[0].name) if overall else None,
            "FailureReason": self.failure_reason,
            "TuningJobCompletionDetails": {
                "NumberOfTrainingJobsObjectiveNotImproving": self.not_improving,
                "ConvergenceDetectedTime": self.converged_time,
            },
            "ConsumedResources": {"RuntimeInSeconds": seconds},
        }

    def _overall_best(self) -> tuple[TuningJob, TunedJob] | None:
        """The best of this job and its parents, which AWS gives for IdenticalDataAndAlgorithm only."""
        if self.warm_start_type != "IdenticalDataAndAlgorithm":
            return None
        owners = {id(job): tuning for tuning in (self, *self.parents) for job in tuning.started()}
        best = _best(job for tuning in (self, *self.parents) for job in tuning.started())
        return (owners[id(best)], best) if best is not None else None


def _best(jobs: Iterable[TunedJob]) -> TunedJob | None:
    best: TunedJob | None = None
    for job in jobs:
        value = job.value
        if value is None:
            continue
        if best is None or best.value is None or is_better(value, best.value, job.definition.goal):
            best = job
    return best


def _count(jobs: list[TunedJob], holds: Callable[[TunedJob], bool]) -> int:
    return sum(1 for job in jobs if holds(job))


def _status_counters(jobs: list[TunedJob]) -> Document:
    return {
        "Completed": _count(jobs, lambda job: job.job.status == "Completed"),
        "InProgress": _count(jobs, lambda job: not job.is_over),
        "RetryableError": 0,
        "NonRetryableError": _count(jobs, lambda job: job.job.status == "Failed"),
        "Stopped": _count(jobs, lambda job: job.job.status == "Stopped"),
    }


def _objective_counters(jobs: list[TunedJob]) -> Document:
    return {
        status: _count(jobs, lambda job, status=status: job.objective_status == status)  # type: ignore[misc]
        for status in ("Succeeded", "Pending", "Failed")
    }


def _runtime_seconds(job: TunedJob) -> int:
    if job.job.start_time is None:
        return 0
    return max(1, round(((job.job.end_time or now()) - job.job.start_time).total_seconds()))
