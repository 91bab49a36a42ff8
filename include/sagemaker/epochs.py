"""What each epoch of a job reached, read from the algorithm's log, and which epoch's weights the job left.

SageMaker's description of a job holds the last value of a metric only; the log holds every epoch:
`Epoch[0] Train-accuracy=0.150391`, `Epoch[0] Time cost=8.095`, `Epoch[0] Validation-accuracy=0.253906`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.sagemaker.api import TRAINING_LOGS
from include.sagemaker.naming import by_machine, machine_of

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

log = logging.getLogger(__name__)

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
EPOCH_LINE = re.compile(
    rf"Epoch\[(?P<epoch>\d+)\]\s+(?P<name>Train-[\w-]+|Validation-[\w-]+|Time cost)=(?P<value>{NUMBER})"
)

KEPT_LINE = re.compile(r"Epoch\[(?P<epoch>\d+)\] Kept\b")
"""What a script or container prints when the weights of an epoch become its model; the last such line counts."""
SECONDS, KEPT = "Time cost", "Kept"
READ_AT_ONCE = 8
"""Logs that are read side by side."""


class EpochMetrics(BaseModel):
    """One epoch, counted from 0 as in the log.

    `metrics` go by SageMaker's names (`train:accuracy`, `validation:accuracy`, `train:top_k_accuracy_2`, ...);
    `seconds` is the time the epoch took; `kept` is whether the log shows that its weights became the job's model.
    """

    model_config = ConfigDict(frozen=True)

    epoch: int
    metrics: dict[str, float]
    seconds: float | None = None
    kept: bool = False

    @property
    def validation_accuracy(self) -> float | None:
        """Share of the validation images the model had right after this epoch."""
        return self.metrics.get("validation:accuracy")


def first_epoch_accuracy(epochs: Sequence[EpochMetrics]) -> float | None:
    """The validation accuracy after the first epoch; None if its lines are not in the log."""
    return next((epoch.validation_accuracy for epoch in epochs if epoch.epoch == 0), None)


@dataclass(frozen=True)
class KeptWeights:
    """The weights in a job's artifact: of which epoch they are, counted from 1, and the objective's value with them.

    `epoch` is None if the log does not show it.
    """

    epoch: int | None
    value: float


def marked_weights(epochs: Sequence[EpochMetrics], metric: str, *, reported: float | None = None) -> KeptWeights | None:
    """The weights that the job of a script or container left; None if nothing shows the value of `metric` with them.

    They are those of the last epoch that the log shows as kept. If it shows none, `reported` is all that is known:
    AWS's value of the metric, the last one.
    """
    kept = next((epoch for epoch in reversed(epochs) if epoch.kept), None)
    if kept is not None and metric in kept.metrics:
        return KeptWeights(kept.epoch + 1, kept.metrics[metric])
    return None if reported is None or not math.isfinite(reported) else KeptWeights(None, reported)


def kept_weights(
    epochs: Sequence[EpochMetrics],
    hyperparameters: Mapping[str, str],
    *,
    reported: float | None = None,
    completed: bool = True,
) -> KeptWeights | None:
    """The weights that a job of the built-in algorithm left; None if nothing shows their validation accuracy.

    It keeps the epoch with the best validation accuracy, the first of equal ones. With
    `checkpoint_frequency` it keeps every nth epoch and the last one, and the last one is used; a job that was not
    `completed` has only the former. `reported` is AWS's value of the metric, which is the last epoch's: it stands in
    for an epoch whose lines are not in the log yet.

    Source: developer guide, "Image Classification Hyperparameters" (`checkpoint_frequency`).
    """
    seen = [
        KeptWeights(epoch.epoch + 1, epoch.validation_accuracy)
        for epoch in epochs
        if epoch.validation_accuracy is not None
    ]
    last = None if reported is None or not math.isfinite(reported) else KeptWeights(None, reported)
    if frequency := _checkpoint_frequency(hyperparameters):
        if not completed:
            return next((kept for kept in reversed(seen) if (kept.epoch or 0) % frequency == 0), None)
        newest = seen[-1] if seen else last
        return newest if last is None or newest is None or _is_equal(newest, last) else last
    best = max([*seen, *([last] if last else [])], key=lambda kept: kept.value, default=None)
    return next((kept for kept in seen if best and _is_equal(kept, best)), best)


def _checkpoint_frequency(hyperparameters: Mapping[str, str]) -> int:
    text = hyperparameters.get("checkpoint_frequency", "").strip('"')
    return int(text) if text.isdecimal() else 0


def _is_equal(one: KeptWeights, other: KeptWeights) -> bool:
    """Whether two values are the same: the log has six decimals, the API single-precision numbers."""
    return math.isclose(one.value, other.value, rel_tol=0, abs_tol=2e-6)


def parse_epochs(lines: Iterable[str]) -> list[EpochMetrics]:
    """The epochs in one machine's log lines, in order.

    An epoch that begins again was lost with a spot machine, and all that followed it: the new lines count.
    """
    metrics: dict[int, dict[str, float]] = {}
    for epoch, name, value in filter(None, map(_logged, lines)):
        if name in metrics.get(epoch, ()):
            metrics = {earlier: entry for earlier, entry in metrics.items() if earlier < epoch}
        metrics.setdefault(epoch, {})[name] = value
    return [
        EpochMetrics(
            epoch=epoch,
            metrics={name: value for name, value in entry.items() if name not in (SECONDS, KEPT)},
            seconds=entry.get(SECONDS),
            kept=KEPT in entry,
        )
        for epoch, entry in sorted(metrics.items())
    ]


def _logged(line: str) -> tuple[int, str, float] | None:
    """The epoch, the name and the value that a line of a log shows."""
    if match := EPOCH_LINE.search(line):
        return int(match["epoch"]), _metric(match["name"]), float(match["value"])
    kept = KEPT_LINE.search(line)
    return (int(kept["epoch"]), KEPT, 1.0) if kept else None


def with_earlier(own: Sequence[EpochMetrics], earlier: Iterable[Sequence[EpochMetrics]]) -> list[EpochMetrics]:
    """The epochs behind a job's model: those of its log, and those before them if it took up a checkpoint.

    `earlier` are the epochs of the attempts before it, the latest attempt first.
    """
    epochs = list(own)
    for attempt in earlier:
        if not epochs or epochs[0].epoch == 0:
            break
        epochs = [*(epoch for epoch in attempt if epoch.epoch < epochs[0].epoch), *epochs]
    return epochs


def _metric(logged: str) -> str:
    channel, _, metric = logged.partition("-")
    return f"{channel.lower()}:{metric}" if metric else logged


def epochs_of_jobs(logs: CloudWatchLogsClient, jobs: Sequence[str]) -> dict[str, list[EpochMetrics]]:
    """The epochs of training jobs by name, a few logs read at a time; of a log that cannot be read, none."""
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        return dict(zip(jobs, pool.map(lambda job: epochs_of_job(logs, job), jobs), strict=True))


def epochs_of_job(logs: CloudWatchLogsClient, job: str) -> list[EpochMetrics]:
    """The epochs of a training job; none, and a warning, if its log cannot be read."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - DAG files load this module

    try:
        return read_epochs(logs, job)
    except (ClientError, BotoCoreError) as error:
        log.warning("The log of %s cannot be read, so only the last value that AWS reports is known: %s", job, error)
        return []


def read_epochs(logs: CloudWatchLogsClient, job: str) -> list[EpochMetrics]:
    """The epochs of a training job from CloudWatch Logs; empty if it left no log.

    Of several machines, which all log the same epochs, the first that logged any is read.
    """
    for _, streams in groupby(_streams(logs, job), key=machine_of):
        epochs = parse_epochs(line for stream in streams for line in _stream_lines(logs, stream))
        if epochs:
            return epochs
    return []


def _streams(logs: CloudWatchLogsClient, job: str) -> list[str]:
    pages = logs.get_paginator("describe_log_streams").paginate(
        logGroupName=TRAINING_LOGS, logStreamNamePrefix=f"{job}/"
    )
    try:
        return sorted((stream["logStreamName"] for page in pages for stream in page["logStreams"]), key=by_machine)
    except logs.exceptions.ResourceNotFoundException:
        return []


def _stream_lines(logs: CloudWatchLogsClient, stream: str) -> Iterator[str]:
    token: str | None = None
    while True:
        page = logs.get_log_events(
            logGroupName=TRAINING_LOGS,
            logStreamName=stream,
            startFromHead=True,
            **({"nextToken": token} if token else {}),  # type: ignore[arg-type]
        )
        yield from (event["message"] for event in page["events"])
        if page["nextForwardToken"] == token:
            return
        token = page["nextForwardToken"]
