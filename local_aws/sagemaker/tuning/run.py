"""One run of a tuning job: training jobs started, watched, stopped early, and the end of it all."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from local_aws.aws_errors import AwsError
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.training.job import TrainingJob
from local_aws.sagemaker.tuning.job import Definition, TunedJob, TuningJob
from local_aws.sagemaker.tuning.rules import MAX_JOBS
from local_aws.sagemaker.tuning.strategies import (
    Proposal,
    has_converged,
    is_worse_than_median,
    jobs_without_improvement,
    reaches,
    shared_epochs,
)

POLL_SECONDS = 0.5
# AWS gives up when the first five jobs have nothing to show.
FRUITLESS_JOBS = 5

log = logging.getLogger(__name__)


class Trainer(Protocol):
    """What starts training jobs."""

    def __call__(self, request: Document, wake: Callable[[], None]) -> TrainingJob:
        """Start a job; `wake` is called for every metric value and at its end."""


class TuningRun:
    """Carries one tuning job from its first training job to its end, in a thread of its own."""

    def __init__(self, tuning: TuningJob, train: Trainer) -> None:
        self._tuning = tuning
        self._train = train
        self._config: Document = tuning.request["HyperParameterTuningJobConfig"]
        limits = self._config["ResourceLimits"]
        self._max_jobs: int = limits.get("MaxNumberOfTrainingJobs", MAX_JOBS)
        self._max_parallel: int = limits["MaxParallelTrainingJobs"]
        self._deadline = time.monotonic() + limits.get("MaxRuntimeInSeconds", float("inf"))
        self._finished: list[TunedJob] = []
        self._exhausted: set[int] = set()
        self._turn = 0
        self._enough = False

    def __call__(self) -> None:
        """Run to the end; every failure ends in the tuning job's record."""
        try:
            self._learn_from_parents()
            self._run()
        except AwsError as error:
            self._abandon(f"A training job could not be created: {error.code}: {error.message}")
        except Exception as error:
            log.exception("tuning job %s", self._tuning.name)
            self._abandon(f"InternalServerError: {type(error).__name__}: {error}")

    def _run(self) -> None:
        changed = self._tuning.changed
        while True:
            with changed:
                self._conclude_ended()
                running = [job for job in self._tuning.jobs if not job.is_over]
                for job in running:
                    self._judge(job)
                if self._is_ending():
                    for job in running:
                        job.job.stop()
                    if not running:
                        break
                elif not self._start_more(self._max_parallel - len(running)) and self._all_concluded():
                    break
                changed.wait(POLL_SECONDS)
        self._finish()

    def _all_concluded(self) -> bool:
        """Whether every job that was started has ended and been counted."""
        return all(job.concluded for job in self._tuning.jobs)

    def _is_ending(self) -> bool:
        """Whether nothing more is to be started and what runs is to be stopped."""
        return self._enough or self._tuning.status == "Stopping" or time.monotonic() > self._deadline

    def _start_more(self, places: int) -> bool:
        """Start jobs in the free places, the definitions in turn; False when nothing is left to start."""
        while len(self._tuning.jobs) < self._max_jobs and len(self._exhausted) < len(self._tuning.definitions):
            if places <= 0:
                return True
            index = self._turn % len(self._tuning.definitions)
            self._turn += 1
            if index in self._exhausted:
                continue
            definition = self._tuning.definitions[index]
            proposal = definition.search.propose()
            if proposal is None:
                self._exhausted.add(index)
                continue
            self._start(definition, proposal)
            places -= 1
        return False

    def _start(self, definition: Definition, proposal: Proposal) -> None:
        number = len(self._tuning.jobs) + 1
        name = f"{self._tuning.name}-{number:03d}-{uuid.uuid4().hex[:8]}"
        tags = self._tuning.request.get("Tags", [])
        request = training_request(name, definition.document, proposal.hyperparameters, tags)
        self._tuning.jobs.append(TunedJob(definition, proposal, self._train(request, self._wake)))

    def _wake(self) -> None:
        with self._tuning.changed:
            self._tuning.changed.notify_all()

    def _conclude_ended(self) -> None:
        """Tell the search how jobs ended, and see whether that was enough."""
        for job in self._tuning.jobs:
            if job.concluded or not job.is_over:
                continue
            job.concluded = True
            job.definition.search.conclude(job.proposal, job.value)
            self._finished.append(job)
            self._check_completion(job)

    def _check_completion(self, job: TunedJob) -> None:
        criteria = self._config.get("TuningJobCompletionCriteria") or {}
        goal = job.definition.goal
        objectives = [value for ended in self._finished if (value := ended.value) is not None]
        self._tuning.not_improving = jobs_without_improvement(objectives, goal)
        target, value = criteria.get("TargetObjectiveMetricValue"), job.value
        if target is not None and value is not None and reaches(value, target, goal):
            self._enough = True
        patience = (criteria.get("BestObjectiveNotImproving") or {}).get("MaxNumberOfTrainingJobsNotImproving")
        if patience is not None and self._tuning.not_improving >= patience:
            self._enough = True
        if self._tuning.converged_time is None and has_converged(objectives, goal):
            self._tuning.converged_time = now()
        if (criteria.get("ConvergenceDetected") or {}).get("CompleteOnConvergence") == "Enabled":
            self._enough = self._enough or self._tuning.converged_time is not None
        if len(self._finished) >= FRUITLESS_JOBS and not objectives:
            self._enough = True

    def _judge(self, job: TunedJob) -> None:
        """Stop a job that Hyperband or the median rule gives up.

        Hyperband sees every epoch once and in order; the median rule compares the last epoch that enough others of the
        same objective reached, so that the fastest job is judged too.
        """
        curve = job.curve
        hopeless = False
        while job.judged_epochs < len(curve) and not hopeless:
            job.judged_epochs += 1
            hopeless = job.definition.search.observe(job.proposal, job.judged_epochs, curve[job.judged_epochs - 1])
        if self._config.get("TrainingJobEarlyStoppingType") == "Auto":
            objective = job.definition.document["TuningObjective"]
            others = [
                other.curve
                for other in self._tuning.jobs
                if other is not job and other.definition.document["TuningObjective"] == objective
            ]
            shared = curve[: shared_epochs(others)]
            hopeless = hopeless or is_worse_than_median(shared, others, job.definition.goal)
        if hopeless:
            job.judged_epochs = len(curve)
            job.job.stop()

    def _learn_from_parents(self) -> None:
        for parent in self._tuning.parents:
            for job in parent.started():
                index = parent.definitions.index(job.definition)
                value = job.value
                if value is None or index >= len(self._tuning.definitions):
                    continue
                static = job.definition.document.get("StaticHyperParameters") or {}
                known = {**static, **job.proposal.hyperparameters}
                self._tuning.definitions[index].search.learn(known, value)

    def _finish(self) -> None:
        if self._tuning.status == "Stopping":
            self._tuning.turn("Stopped")
            return
        if any(job.value is not None for job in self._finished):
            self._tuning.turn("Completed")
            return
        count = len(self._finished)
        if any(job.job.status == "Completed" for job in self._finished):
            reason = (
                f"No objective metrics found after running {count} training jobs. Please ensure that the custom "
                "algorithm is emitting the objective metric as defined by the regular expression provided."
            )
        elif count >= FRUITLESS_JOBS and count < self._max_jobs:
            reason = f"No training job succeeded after {count} attempts. {_first_reason(self._finished)}"
        else:
            reason = f"All training jobs failed. {_first_reason(self._finished)}"
        self._tuning.turn("Failed", reason)

    def _abandon(self, reason: str) -> None:
        for job in self._tuning.started():
            job.job.stop()
        self._tuning.turn("Failed", reason)


def training_request(name: str, document: Document, tuned: Mapping[str, str], tags: list[Any]) -> Document:
    """The CreateTrainingJob request of a definition with the tuned hyperparameters."""
    passed = (
        "RoleArn",
        "InputDataConfig",
        "VpcConfig",
        "OutputDataConfig",
        "StoppingCondition",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "EnableManagedSpotTraining",
        "RetryStrategy",
        "Environment",
    )
    request = {field: document[field] for field in passed if field in document}
    request |= {
        "TrainingJobName": name,
        "AlgorithmSpecification": document["AlgorithmSpecification"],
        "ResourceConfig": _resources(document),
        "HyperParameters": {
            **document.get("StaticHyperParameters", {}),
            **tuned,
        },
        "Tags": tags,
    }
    if "CheckpointConfig" in document:
        # A prefix of its own for each job: jobs with other hyperparameters must not continue from each other.
        checkpoints = document["CheckpointConfig"]
        request["CheckpointConfig"] = {**checkpoints, "S3Uri": f"{checkpoints['S3Uri'].rstrip('/')}/{name}"}
    return request


def _resources(document: Document) -> Document:
    """The ResourceConfig, of several instance configurations the one AWS prefers: the first."""
    tuning = document.get("HyperParameterTuningResourceConfig")
    if tuning is None:
        resources: Document = document.get("ResourceConfig", {})
        return resources
    first = (tuning.get("InstanceConfigs") or [{}])[0]
    kept = {key: value for key, value in tuning.items() if key not in ("InstanceConfigs", "AllocationStrategy")}
    return {**kept, **first}


def _first_reason(jobs: list[TunedJob]) -> str:
    """Where to look, and the first failure's own words."""
    first = next((job for job in jobs if job.job.failure_reason), None)
    told = f" The first, {first.job.name}: {first.job.failure_reason}" if first else ""
    return f"Please take a look at the training job failures to get more details.{told}"
