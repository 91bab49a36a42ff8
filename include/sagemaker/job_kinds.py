"""What SageMaker calls the parts of each kind of job: API actions, fields, statuses, log group, console page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from include.sagemaker.naming import LONGEST_NAME, LONGEST_TUNING_NAME

ACTIVE = frozenset({"InProgress", "Creating", "Updating", "SystemUpdating", "RollingBack", "Stopping", "Deleting"})
"""Statuses that change by themselves; every other status is final."""

BEFORE_THE_CONTAINER = frozenset(
    {"Pending", "Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Downloading", "DownloadingTrainingImage"}
)
"""Secondary statuses of a training job whose container does not run yet, and so writes no log."""

INTERRUPTED = frozenset({"Interrupted", "Restarting"})
"""Secondary statuses of a training job that has lost its machine and continues with another one."""


TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
"""The log group of training jobs, those of tuning jobs among them."""


@dataclass(frozen=True)
class JobKind:
    """One kind of job; `action` is what API actions end in (`CreateTrainingJob`), `subject` what fields start with.

    `listed` shows whether its List action finds all that are under way with one status, `longest_name` how many
    characters its name may have.
    """

    noun: str
    action: str
    subject: str
    log_group: str | None
    console_page: str
    done: str = "Completed"
    listed: bool = True
    longest_name: int = LONGEST_NAME

    @property
    def create(self) -> str:
        """The client's method that starts one."""
        return f"create_{self.action}"

    @property
    def describe(self) -> str:
        """The client's method that describes one."""
        return f"describe_{self.action}"

    @property
    def list(self) -> str:
        """The client's method that lists many at once."""
        return f"list_{self.action}s"

    @property
    def summaries(self) -> str:
        """The field of a List answer that holds them."""
        return f"{self.subject}Summaries"

    @property
    def stop(self) -> str:
        """The client's method that stops one."""
        return f"stop_{self.action}"

    @property
    def name_field(self) -> str:
        """The request's and description's field of the name."""
        return f"{self.subject}Name"

    @property
    def arn_field(self) -> str:
        """The field of its ARN in a description and in a List answer's summary."""
        return f"{self.subject}Arn"

    def log_place(self, name: str) -> tuple[str, str]:
        """The log group of a job or endpoint, and how the streams start that are its own."""
        if self.log_group:
            return self.log_group, f"{name}/"
        if self.action == "endpoint":
            return f"/aws/sagemaker/Endpoints/{name}", ""
        return TRAINING_LOGS, f"{name}-"  # a tuning job's training jobs

    def named(self, name: str) -> dict[str, str]:
        """The arguments that point at one job."""
        return {self.name_field: name}

    def status(self, description: Mapping[str, Any]) -> str:
        """The status in a describe answer, or in a List answer's summary."""
        return str(description[f"{self.subject}Status"])


TRAINING = JobKind("training job", "training_job", "TrainingJob", TRAINING_LOGS, "jobs")
TUNING = JobKind(
    "tuning job",
    "hyper_parameter_tuning_job",
    "HyperParameterTuningJob",
    None,
    "hyper-tuning-jobs",
    longest_name=LONGEST_TUNING_NAME,
)
TRANSFORM = JobKind("transform job", "transform_job", "TransformJob", "/aws/sagemaker/TransformJobs", "transform-jobs")
ENDPOINT = JobKind("endpoint", "endpoint", "Endpoint", None, "endpoints", done="InService", listed=False)

KINDS = {kind.action: kind for kind in (TRAINING, TUNING, TRANSFORM, ENDPOINT)}
