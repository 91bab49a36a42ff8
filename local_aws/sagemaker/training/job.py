"""A training job: what was asked, what has become of it, the metrics in its log, and how the API describes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local_aws.container_process import ContainerProcess
from local_aws.job_slots import JobSlot
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.failures import LONGEST_REASON
from local_aws.sagemaker.core.resource_table import now
from local_aws.sagemaker.training.rules import DEFAULT_RUNTIME

STOP_GRACE_SECONDS = 120.0
UNBILLED = frozenset({"Interrupted", "Starting"})
FINISHED = frozenset({"Completed", "Failed", "Stopped"})
MESSAGES: Mapping[str, str] = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Stopping": "Stopping the training job",
    "Interrupted": "The spot instances were interrupted",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}
ECHOED = (
    "HyperParameters",
    "RoleArn",
    "VpcConfig",
    "CheckpointConfig",
    "DebugHookConfig",
    "DebugRuleConfigurations",
    "TensorBoardOutputConfig",
    "ExperimentConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "Environment",
    "RetryStrategy",
    "RemoteDebugConfig",
    "InfraCheckConfig",
    "MlflowConfig",
    "ModelPackageConfig",
)


NOT_EVALUATED = "The local AWS keeps the rules of SageMaker Debugger and evaluates none: only AWS can."


@dataclass
class Transition:
    """One secondary status and the time it lasted."""

    status: str
    start: datetime
    message: str
    end: datetime | None = None


class TrainingJob:
    """The record of one job; its run moves it on, and any thread may describe it."""

    def __init__(
        self,
        name: str,
        arn: str,
        request: Document,
        metrics: MetricLog,
        slot: JobSlot,
        *,
        tuning_job_arn: str | None = None,
    ) -> None:
        self.name = name
        self.arn = arn
        self.request = request
        self.metrics = metrics
        self.slot = slot
        self.tuning_job_arn = tuning_job_arn
        self.creation_time = self.last_modified_time = now()
        self.status = "InProgress"
        self.failure_reason: str | None = None
        self.start_time: datetime | None = None
        self.end_time: datetime | None = None
        self.artifact_uri: str | None = None
        self.stopping = threading.Event()
        self.finished = threading.Event()
        self._lock = threading.RLock()
        self._stop_status = "Stopped"
        self.is_interrupted = False
        self._container: ContainerProcess | None = None
        self._transitions = [Transition("Starting", self.creation_time, MESSAGES["Starting"])]

    @property
    def secondary_status(self) -> str:
        """The secondary status of now."""
        return self._transitions[-1].status

    @property
    def stop_status(self) -> str:
        """The secondary status with which a stopped job ends: Stopped, or the limit that stopped it."""
        return self._stop_status

    def move(self, secondary_status: str, message: str | None = None) -> None:
        """Enter the next secondary status, now."""
        with self._lock:
            moment = now()
            self._transitions[-1].end = self.last_modified_time = moment
            self._transitions.append(Transition(secondary_status, moment, message or MESSAGES[secondary_status]))

    def begin(self) -> None:
        """Leave the queue: from now on the job is billed."""
        with self._lock:
            self.start_time = now()
            self._get_data()

    def begin_again(self) -> None:
        """Start on another instance, after an interruption."""
        with self._lock:
            if not self.stopping.is_set():
                self.move("Starting")
            self._get_data()

    def update(self, fields: Mapping[str, Any]) -> None:
        """Change fields of the request, member by member where they are structures."""
        with self._lock:
            for field, value in fields.items():
                kept = self.request.get(field)
                merged = {**kept, **value} if isinstance(kept, dict) and isinstance(value, dict) else value
                self.request = {**self.request, field: merged}
            self.last_modified_time = now()

    def run_in(self, container: ContainerProcess) -> None:
        """Remember the process, which a stop ends; one that was stopped meanwhile is ended at once."""
        with self._lock:
            self._container = container
            if self.stopping.is_set():
                container.terminate(STOP_GRACE_SECONDS)

    def stop(self, *, ends_as: str = "Stopped", grace: float = STOP_GRACE_SECONDS) -> None:
        """Ask the job to end: SIGTERM to its process, SIGKILL after the grace; does not wait."""
        with self._lock:
            if self.status == "InProgress":
                self._stop_status = ends_as
                self.status = "Stopping"
                self.move("Stopping")
                self.stopping.set()
                self.slot.leave_queue()
            if self._container is not None:
                self._container.terminate(grace)

    def interrupt(self, grace: float = STOP_GRACE_SECONDS) -> bool:
        """Take the job's spot instance away: SIGTERM, then SIGKILL after the grace; False where it has none to lose."""
        with self._lock:
            is_spot = self.request.get("EnableManagedSpotTraining", False)
            if not is_spot or self._container is None or self.secondary_status != "Training":
                return False
            self.is_interrupted = True
            self._container.terminate(grace)
            return True

    def goes_on_elsewhere(self) -> bool:
        """Move on after an interruption, to the next instance; False where the container ended by itself."""
        with self._lock:
            if not self.is_interrupted or self.stopping.is_set():
                return False
            self.is_interrupted = False
            self._container = None
            self.move("Interrupted")
            return True

    def wait_for_container(self, timeout: float) -> None:
        """Wait until the job's process is gone, if it ever had one."""
        container = self._container
        if container is not None:
            container.wait(timeout)

    def finish(self, status: str, *, secondary_status: str | None = None, reason: str | None = None) -> None:
        """End the job as Completed, Failed or Stopped, with the reason of a failure."""
        with self._lock:
            if self.start_time is not None:
                self.end_time = now()
            if reason is not None:
                self.failure_reason = reason[:LONGEST_REASON]
            self.move(secondary_status or status, self.failure_reason)
            self.status = status
            self.finished.set()

    def summary(self) -> Document:
        """The job as ListTrainingJobs gives it."""
        with self._lock:
            return {
                "TrainingJobName": self.name,
                "TrainingJobArn": self.arn,
                "CreationTime": self.creation_time,
                "TrainingEndTime": self.end_time,
                "LastModifiedTime": self.last_modified_time,
                "TrainingJobStatus": self.status,
                "SecondaryStatus": self.secondary_status,
            }

    def describe(self) -> Document:
        """The job as DescribeTrainingJob gives it."""
        with self._lock:
            seconds = self._seconds()
            return {
                "TrainingJobName": self.name,
                "TrainingJobArn": self.arn,
                "TuningJobArn": self.tuning_job_arn,
                "ModelArtifacts": {"S3ModelArtifacts": self.artifact_uri} if self.artifact_uri else None,
                "TrainingJobStatus": self.status,
                "SecondaryStatus": self.secondary_status,
                "FailureReason": self.failure_reason,
                **{field: self.request.get(field) for field in ECHOED},
                **_with_defaults(self.request),
                "CreationTime": self.creation_time,
                "TrainingStartTime": self.start_time,
                "TrainingEndTime": self.end_time,
                "LastModifiedTime": self.last_modified_time,
                "SecondaryStatusTransitions": [_transition(transition) for transition in self._transitions],
                "FinalMetricDataList": self.metrics.final() or None,
                "TrainingTimeInSeconds": seconds,
                "BillableTimeInSeconds": self._billable_seconds(seconds),
                "ProfilingStatus": _profiling_status(self.request),
                "DebugRuleEvaluationStatuses": self._rules("DebugRuleConfigurations"),
                "ProfilerRuleEvaluationStatuses": self._rules("ProfilerRuleConfigurations"),
            }

    def _get_data(self) -> None:
        if not self.stopping.is_set():
            self.move("Downloading")

    def _rules(self, field: str) -> list[Document] | None:
        """What has become of each rule of Debugger: nothing. None without rules."""
        return [
            {
                "RuleConfigurationName": rule["RuleConfigurationName"],
                "RuleEvaluationStatus": "Stopped",
                "StatusDetails": NOT_EVALUATED,
                "LastModifiedTime": self.creation_time,
            }
            for rule in self.request.get(field, [])
        ] or None

    def _billable_seconds(self, seconds: int | None) -> int | None:
        """The seconds without those between two instances."""
        if seconds is None or self.start_time is None:
            return None
        between = sum(
            (transition.end - transition.start).total_seconds()
            for transition in self._transitions
            if transition.end and transition.start >= self.start_time and transition.status in UNBILLED
        )
        return max(1, round(seconds - between))

    def _seconds(self) -> int | None:
        if self.start_time is None or self.end_time is None:
            return None
        return max(1, round((self.end_time - self.start_time).total_seconds()))


def _transition(transition: Transition) -> Document:
    return {
        "Status": transition.status,
        "StartTime": transition.start,
        "EndTime": transition.end,
        "StatusMessage": transition.message,
    }


def _with_defaults(request: Mapping[str, Any]) -> Document:
    """The fields to which AWS adds what the request left out."""
    channels = [
        {
            "CompressionType": "None",
            "RecordWrapperType": "None",
            **channel,
            "DataSource": {
                **channel["DataSource"],
                "S3DataSource": {"S3DataDistributionType": "FullyReplicated", **channel["DataSource"]["S3DataSource"]},
            },
        }
        for channel in request.get("InputDataConfig", [])
    ]
    return {
        "AlgorithmSpecification": {"EnableSageMakerMetricsTimeSeries": False, **request["AlgorithmSpecification"]},
        "InputDataConfig": channels or None,
        "OutputDataConfig": {"KmsKeyId": "", "CompressionType": "GZIP", **request["OutputDataConfig"]},
        "ResourceConfig": {"VolumeSizeInGB": 0, **request["ResourceConfig"]},
        "StoppingCondition": {"MaxRuntimeInSeconds": DEFAULT_RUNTIME, **request.get("StoppingCondition", {})},
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
    }


def _profiling_status(request: Mapping[str, Any]) -> str:
    profiler = request.get("ProfilerConfig")
    return "Enabled" if profiler is not None and not profiler.get("DisableProfiler", False) else "Disabled"


@dataclass(frozen=True)
class MetricValue:
    """One value of a metric, with the time at which its line came."""

    name: str
    value: float
    time: datetime


class MetricLog:
    """The values of one job's metrics, in the order of its lines.

    `on_value` is called for every value as it comes, in the thread that reads the container's output.
    """

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        self._definitions = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._lock = threading.Lock()
        self._values: list[MetricValue] = []
        self.on_value: Callable[[MetricValue], None] | None = None

    def read(self, line: str) -> list[MetricValue]:
        """Look for metrics in a line and return them; what is not a number is passed over."""
        found_values = []
        for name, expression in self._definitions:
            found = expression.search(line)
            if found is None:
                continue
            try:
                value = MetricValue(name, float(found.group(1) if expression.groups else found.group()), now())
            except (TypeError, ValueError):
                continue
            found_values.append(value)
            with self._lock:
                self._values.append(value)
            if self.on_value is not None:
                self.on_value(value)
        return found_values

    def history(self, name: str) -> list[float]:
        """Every value of a metric so far."""
        with self._lock:
            return [value.value for value in self._values if value.name == name]

    def last(self, name: str) -> MetricValue | None:
        """The latest value of a metric, or None."""
        with self._lock:
            return next((value for value in reversed(self._values) if value.name == name), None)

    def final(self) -> list[Document]:
        """The API's FinalMetricDataList: the last value of every metric."""
        latest = [self.last(name) for name, _ in self._definitions]
        return [{"MetricName": v.name, "Value": v.value, "Timestamp": v.time} for v in latest if v is not None]
