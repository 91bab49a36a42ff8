"""The training jobs of a run as the AWS API and CloudWatch Logs show them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribeTrainingJobResponseTypeDef

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
VALIDATION = re.compile(r"Epoch\[(\d+)\] Validation-accuracy=([0-9.eE+-]+)")
FINAL_STATUSES = frozenset({"Completed", "Failed", "Stopped"})

Role = Literal["base", "tuning", "incremental"]


@dataclass
class TrainingJob:
    """One training job; `accuracies` holds the validation accuracy of every finished epoch."""

    name: str
    role: Role
    status: str
    hyperparameters: dict[str, str]
    metrics: dict[str, float] = field(default_factory=dict)
    accuracies: dict[int, float] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs the job was asked for; 30 is the algorithm's default."""
        return int(self.hyperparameters.get("epochs", 30))

    @property
    def accuracy(self) -> float | None:
        """The validation accuracy: of the last epoch while it trains, then of the weights that the job kept.

        Those are the best epoch's, or the last one's if the job has a `checkpoint_frequency`.
        """
        if not self.accuracies:
            return None
        if self.is_over and "checkpoint_frequency" not in self.hyperparameters:
            return max(self.accuracies.values())
        return self.accuracies[max(self.accuracies)]

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.status in FINAL_STATUSES


class TrainingJobWatch:
    """Follows every training job created from a moment on."""

    def __init__(self, session: boto3.Session, aws_url: str, since: datetime) -> None:
        self._sagemaker: SageMakerClient = session.client("sagemaker", endpoint_url=aws_url)
        self._logs: CloudWatchLogsClient = session.client("logs", endpoint_url=aws_url)
        self._since = since
        self._jobs: dict[str, TrainingJob] = {}
        self._log_places: dict[str, str] = {}

    def look(self) -> list[TrainingJob]:
        """The jobs as they are now, in the order of their creation."""
        pages = self._sagemaker.get_paginator("list_training_jobs").paginate(
            CreationTimeAfter=self._since, SortBy="CreationTime", SortOrder="Ascending"
        )
        for summary in (summary for page in pages for summary in page["TrainingJobSummaries"]):
            known = self._jobs.get(summary["TrainingJobName"])
            if known is None or not known.is_over:
                self._update(summary["TrainingJobName"])
        return list(self._jobs.values())

    def _update(self, name: str) -> None:
        description = self._sagemaker.describe_training_job(TrainingJobName=name)
        job = self._jobs.setdefault(name, TrainingJob(name, _role(description), "", {}))
        job.status = description["TrainingJobStatus"]
        job.hyperparameters = dict(description.get("HyperParameters", {}))
        job.metrics = {metric["MetricName"]: metric["Value"] for metric in description.get("FinalMetricDataList", [])}
        self._read_log(job)

    def _read_log(self, job: TrainingJob) -> None:
        try:
            streams = self._logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job.name}/")
        except self._logs.exceptions.ResourceNotFoundException:
            return
        names = sorted(stream["logStreamName"] for stream in streams["logStreams"])
        for stream in names:
            if stream.startswith(f"{names[0].rpartition('-')[0]}-"):  # all machines log the same epochs: one is read
                self._read_stream(job, stream)

    def _read_stream(self, job: TrainingJob, stream: str) -> None:
        place = self._log_places.get(stream)
        while True:
            page = (
                self._logs.get_log_events(
                    logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True, nextToken=place
                )
                if place
                else self._logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)
            )
            for event in page["events"]:
                if found := VALIDATION.search(event["message"]):
                    job.accuracies[int(found[1])] = float(found[2])
            if page["nextForwardToken"] == place or not page["events"]:
                break
            place = page["nextForwardToken"]
        if place:
            self._log_places[stream] = place


def _role(description: DescribeTrainingJobResponseTypeDef) -> Role:
    if description.get("TuningJobArn"):
        return "tuning"
    channels = {channel["ChannelName"] for channel in description.get("InputDataConfig", [])}
    return "incremental" if "model" in channels else "base"
