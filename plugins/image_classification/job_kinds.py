"""What SageMaker calls the parts of each kind of job: API actions, fields, statuses, log group, console page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACTIVE = frozenset({"InProgress", "Creating", "Updating", "SystemUpdating", "RollingBack", "Stopping", "Deleting"})
"""Statuses that change by themselves; every other status is final."""


@dataclass(frozen=True)
class JobKind:
    """One kind of job; `action` is what API actions end in (`CreateTrainingJob`), `subject` what fields start with."""

    noun: str
    action: str
    subject: str
    log_group: str | None
    console_page: str
    done: str = "Completed"

    @property
    def create(self) -> str:
        """The client's method that starts one."""
        return f"create_{self.action}"

    @property
    def describe(self) -> str:
        """The client's method that tells how one is doing."""
        return f"describe_{self.action}"

    @property
    def stop(self) -> str:
        """The client's method that stops one."""
        return f"stop_{self.action}"

    @property
    def name_field(self) -> str:
        """The request's and description's field of the name."""
        return f"{self.subject}Name"

    def named(self, name: str) -> dict[str, str]:
        """The arguments that point at one job."""
        return {self.name_field: name}

    def status(self, description: Mapping[str, Any]) -> str:
        """The status in a describe answer."""
        return str(description[f"{self.subject}Status"])


TRAINING = JobKind("training job", "training_job", "TrainingJob", "/aws/sagemaker/TrainingJobs", "jobs")
TUNING = JobKind("tuning job", "hyper_parameter_tuning_job", "HyperParameterTuningJob", None, "hyper-tuning-jobs")
TRANSFORM = JobKind("transform job", "transform_job", "TransformJob", "/aws/sagemaker/TransformJobs", "transform-jobs")
ENDPOINT = JobKind("endpoint", "endpoint", "Endpoint", None, "endpoints", done="InService")

KINDS = {kind.action: kind for kind in (TRAINING, TUNING, TRANSFORM, ENDPOINT)}
