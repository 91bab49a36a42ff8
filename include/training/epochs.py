"""What each epoch of a job reached, read from the algorithm's log.

SageMaker's description of a job holds the last value of a metric only; the log holds every epoch:
`Epoch[0] Train-accuracy=0.150391`, `Epoch[0] Time cost=8.095`, `Epoch[0] Validation-accuracy=0.253906`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
LINE = re.compile(rf"Epoch\[(?P<epoch>\d+)\]\s+(?P<name>Train-[\w-]+|Validation-[\w-]+|Time cost)=(?P<value>{NUMBER})")


class EpochMetrics(BaseModel):
    """One epoch, counted from 0 as in the log.

    `metrics` go by SageMaker's names (`train:accuracy`, `validation:accuracy`, `train:top_k_accuracy_2`, ...);
    `seconds` is the time the epoch took.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    metrics: dict[str, float]
    seconds: float | None = None

    @property
    def validation_accuracy(self) -> float | None:
        """Share of the validation images the model had right after this epoch."""
        return self.metrics.get("validation:accuracy")


def parse_epochs(lines: Iterable[str]) -> list[EpochMetrics]:
    """The epochs in a job's log lines, in order; of a line that occurs twice (a restarted spot job) the last counts."""
    metrics: dict[int, dict[str, float]] = {}
    seconds: dict[int, float] = {}
    for match in filter(None, map(LINE.search, lines)):
        epoch, value = int(match["epoch"]), float(match["value"])
        entry = metrics.setdefault(epoch, {})
        if match["name"] == "Time cost":
            seconds[epoch] = value
        else:
            channel, _, metric = match["name"].partition("-")
            entry[f"{channel.lower()}:{metric}"] = value
    return [
        EpochMetrics(epoch=epoch, metrics=entry, seconds=seconds.get(epoch)) for epoch, entry in sorted(metrics.items())
    ]


def read_epochs(logs: CloudWatchLogsClient, job: str) -> list[EpochMetrics]:
    """The epochs of a training job from CloudWatch Logs; empty where it left no log."""
    return parse_epochs(log_lines(logs, job))


def log_lines(logs: CloudWatchLogsClient, job: str) -> Iterator[str]:
    """The lines of the job's first machine; with several machines all of them log the same epochs.

    A machine has a stream for each time it was started (`JOB/algo-1-SECONDS`): a spot job may have been restarted.
    """
    try:
        found = logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{job}/")
    except logs.exceptions.ResourceNotFoundException:
        return
    streams = sorted(stream["logStreamName"] for stream in found["logStreams"])
    for stream in streams:
        if _machine(stream) == _machine(streams[0]):
            yield from _stream_lines(logs, stream)


def _machine(stream: str) -> str:
    return stream.rpartition("-")[0]


def _stream_lines(logs: CloudWatchLogsClient, stream: str) -> Iterator[str]:
    token: str | None = None
    while True:
        page = logs.get_log_events(
            logGroupName=LOG_GROUP,
            logStreamName=stream,
            startFromHead=True,
            **({"nextToken": token} if token else {}),  # type: ignore[arg-type]
        )
        yield from (event["message"] for event in page["events"])
        if page["nextForwardToken"] == token:
            return
        token = page["nextForwardToken"]
