"""What a training job left of itself beside the model, and how a rule about it reports what it found.

The job leaves the rows in its output.tar.gz, and its machine's metrics. The archive was written by a job that may be
anybody's: it is read once and forward, within bounds, and a row counts if it has the form that
algorithms/pytorch/README.md describes. Whatever is missing is named and stops nothing.
"""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from include.datasets.unpacking.archive import ArchiveError, Expansion, ExpansionLimits, TarMembers, member_path
from include.pages import Markup, joined, shown
from include.sagemaker.containers import GPUS
from include.sagemaker.epochs import EpochMetrics

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.sagemaker.job_results import JobResult

log = logging.getLogger(__name__)

MODEL, OUTPUT = "model.tar.gz", "output.tar.gz"
"""SageMaker puts both side by side (developer guide, "How Amazon SageMaker AI Processes Training Output")."""
TENSORS, STEPS, MACHINE = "tensors.jsonl", "steps.jsonl", "machine.jsonl"
LARGEST_FILE = 128 << 20
LIMITS = ExpansionLimits(total=4 << 30, ratio=1000)
"""Of the whole archive. Rows of figures shrink more than images."""
MOST_LAYERS = 5_000
LONGEST_ROW = 4_096
NAMESPACE = "/aws/sagemaker/TrainingJobs"
INSTANCE_METRICS = (
    "CPUUtilization",
    "MemoryUtilization",
    "GPUUtilization",
    "GPUMemoryUtilization",
    "DiskUtilization",
)
"""Source: developer guide, "Amazon SageMaker AI metrics in Amazon CloudWatch", metrics of jobs: one value a minute."""
MOST_POINTS = 1_440

Floats = npt.NDArray[np.float64]
Number = Annotated[int, Field(ge=0, le=1 << 53)]
Seconds = Annotated[FiniteFloat, Field(ge=0, le=1e10)]
Figure = Annotated[FiniteFloat, Field(ge=-1e30, le=1e30)]
"""Bounds so wide that figures within them can be multiplied."""
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Percent = Annotated[FiniteFloat, Field(ge=0, le=100)]

Status = Literal["found", "fine", "unknown"]
NAMED = 5
"""Names that a sentence has at most."""
NO_LOSS = 1e-9
"""A loss up to this is zero: nothing is left to learn, and as a share of it every change would be enormous."""
MANY_TIMES = 10.0
"""From this factor on a rise is given as a factor."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class TensorRow(_Row):
    """A tensor of a layer at a step. `nonfinite`, `dead` are shares; a figure is None if it is not a number."""

    step: Number
    layer: Annotated[str, Field(max_length=200)]
    tensor: Literal["weight", "gradient", "output"]
    abs_mean: Figure | None = None
    std: Figure | None = None
    norm: Figure | None = None
    nonfinite: Share = 0.0
    update: Figure | None = None
    dead: Share | None = None
    input_std: Figure | None = None


class StepRow(_Row):
    """A step with the seconds of its parts; an `observed` one gathered tensor statistics besides."""

    epoch: Number
    step: Number
    loss: Figure | None = None
    data: Seconds
    forward: Seconds
    backward: Seconds
    update: Seconds
    observed: bool = False


class MachineRow(_Row):
    """The machine at a moment (`at`, seconds since 1970): percentages, and bytes per second."""

    at: Seconds
    cpu: Percent
    busiest_core: Percent | None = None
    memory: Percent
    disk_read: Figure | None = None
    disk_written: Figure | None = None
    network_in: Figure | None = None
    network_out: Figure | None = None
    gpu: Percent | None = None
    idlest_gpu: Percent | None = None
    gpu_memory: Percent | None = None


Row = TypeVar("Row", bound=_Row)
Columns = Mapping[str, Floats]
"""Rows as columns, in their order: nan where a row has no figure."""


class _Gathered:
    """Columns as they grow."""

    def __init__(self, kind: type[_Row]) -> None:
        numbers = (name for name, field in kind.model_fields.items() if name not in ("layer", "tensor"))
        self._columns = {name: array("d") for name in numbers}

    def add(self, row: _Row) -> None:
        for name, column in self._columns.items():
            value = getattr(row, name)
            column.append(math.nan if value is None else float(value))

    def columns(self) -> Columns:
        return {name: np.frombuffer(column, dtype=np.float64) for name, column in self._columns.items() if column}


@dataclass(frozen=True)
class JobTraces:
    """The traces of a job.

    `tensors` are the columns of each layer's tensors, in the order of the network; `instance` holds the values of
    CloudWatch's metrics, each with its seconds since the job began; `gpus` is how many GPUs they add up. `missing` says
    what could not be read, and why.
    """

    tensors: Mapping[tuple[str, str], Columns] = field(default_factory=dict)
    steps: Columns = field(default_factory=dict)
    machine: Columns = field(default_factory=dict)
    instance: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    gpus: int = 1
    missing: tuple[str, ...] = ()


NO_TRACES = JobTraces()


def read_traces(s3: S3Client, cloudwatch: Any, job: JobResult) -> JobTraces:
    """The traces of a job that has ended. Nothing that is missing or damaged raises."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - DAG files load this module

    missing: list[str] = []
    found: dict[str, bytes] = {}
    try:
        found = _output_files(s3, job.artifact or "", missing)
    except (ArchiveError, ClientError, BotoCoreError) as error:
        missing.append(f"{OUTPUT} of {job.name} cannot be read: {error}")
    instance: dict[str, list[tuple[float, float]]] = {}
    try:
        instance = instance_metrics(cloudwatch, job)
    except (ClientError, BotoCoreError) as error:
        missing.append(f"CloudWatch's metrics of {job.name} cannot be read: {error}")
    for reason in missing:
        log.warning("%s", reason)
    gpus = GPUS.get(job.instance_type or "", 1)
    return replace(traces_of(found, missing=missing), instance=instance, gpus=gpus)


def traces_of(files: Mapping[str, bytes], *, missing: Sequence[str] = ()) -> JobTraces:
    """The traces in files of rows, by the names of the files."""
    odd: list[str] = []
    tensors: dict[tuple[str, str], _Gathered] = {}
    for tensor in _rows(files, TENSORS, TensorRow, odd):
        place = (tensor.layer, tensor.tensor)
        if place not in tensors and len(tensors) < MOST_LAYERS:
            tensors[place] = _Gathered(TensorRow)
        if place in tensors:
            tensors[place].add(tensor)
    steps, machine = _Gathered(StepRow), _Gathered(MachineRow)
    for step in _rows(files, STEPS, StepRow, odd):
        steps.add(step)
    for moment in _rows(files, MACHINE, MachineRow, odd, first=1):
        machine.add(moment)
    return JobTraces(
        tensors={place: gathered.columns() for place, gathered in tensors.items()},
        steps=steps.columns(),
        machine=machine.columns(),
        missing=(*missing, *odd),
    )


def _output_files(s3: S3Client, artifact: str, missing: list[str]) -> dict[str, bytes]:
    """The files of rows in the archive beside a model.tar.gz."""
    bucket, _, key = artifact.removeprefix("s3://").partition("/")
    if not key.endswith(f"/{MODEL}"):
        return {}
    try:
        body = s3.get_object(Bucket=bucket, Key=f"{key.removesuffix(MODEL)}{OUTPUT}")["Body"]
    except s3.exceptions.NoSuchKey:
        return {}
    found: dict[str, bytes] = {}
    with body:
        for member in TarMembers(body, Expansion(LIMITS), compressed=True):
            path = member_path(member.name)
            name = path.rpartition("/")[2] if isinstance(path, str) and not member.refusal else ""
            if name not in (TENSORS, STEPS, MACHINE) or name in found:
                continue
            content = member.read(LARGEST_FILE)
            if content is None:
                missing.append(f"{name} is larger than {LARGEST_FILE >> 20} MB and is not read")
            else:
                found[name] = content
    return found


def _rows(files: Mapping[str, bytes], name: str, kind: type[Row], odd: list[str], *, first: int = 0) -> Iterator[Row]:
    """The rows of a file from the `first` on; those of another form are counted in `odd`."""
    wrong = 0
    content, end = files.get(name, b""), 0
    for number in range(content.count(b"\n")):
        start, end = end, content.index(b"\n", end) + 1
        if number < first:
            continue
        try:
            if end - start > LONGEST_ROW:
                raise ValueError("a row is longer than the ones this project writes")
            yield kind.model_validate_json(content[start:end])
        except (ValidationError, ValueError):
            wrong += 1
    if wrong:
        odd.append(f"{wrong:,} rows of {name} have another format and do not count")


def instance_metrics(cloudwatch: Any, job: JobResult) -> dict[str, list[tuple[float, float]]]:
    """What CloudWatch has of the job's first machine, by metric; nothing for a job whose times are not known."""
    if job.started is None:
        return {}
    ended = job.ended or datetime.now(UTC)
    minutes = math.ceil(max(1.0, (ended - job.started).total_seconds()) / 60 / MOST_POINTS)
    dimensions = [{"Name": "Host", "Value": f"{job.name}/algo-1"}]
    queries: list[Any] = [
        {
            "Id": metric.lower(),
            "MetricStat": {
                "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions},
                "Period": 60 * minutes,
                "Stat": "Average",
            },
        }
        for metric in INSTANCE_METRICS
    ]
    found: dict[str, list[tuple[float, float]]] = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=_whole_minute(job.started), EndTime=ended, ScanBy="TimestampAscending"
    )
    names = {metric.lower(): metric for metric in INSTANCE_METRICS}
    for page in pages:
        for result in page["MetricDataResults"]:
            points = found.setdefault(names[result["Id"]], [])
            for moment, value in zip(result["Timestamps"], result["Values"], strict=True):
                points.append((max(0.0, (moment - job.started).total_seconds()), float(value)))
    return {metric: sorted(points) for metric, points in found.items() if points}


def _whole_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


@dataclass(frozen=True)
class Trained:
    """What is known of a training.

    `kept_epoch` is the one of the model, counted from 1. `training_images` and `recalls` are by class; `weighted` says
    that the loss gave rare classes as much say as frequent ones.
    """

    epochs: Sequence[EpochMetrics] = ()
    kept_epoch: int | None = None
    traces: JobTraces = NO_TRACES
    training_images: Mapping[str, int] = field(default_factory=dict)
    recalls: Mapping[str, float] = field(default_factory=dict)
    weighted: bool = False

    def metric(self, name: str) -> dict[int, float]:
        """A metric by epoch, counted from 1; epochs in which it was infinite or not a number are left out."""
        values = {epoch.epoch + 1: epoch.metrics.get(name, math.nan) for epoch in self.epochs}
        return {epoch: value for epoch, value in values.items() if math.isfinite(value)}

    def layers(self, tensor: str) -> dict[str, Columns]:
        """The columns of each layer's `weight`, `gradient` or `output`, in the order of the network."""
        return {layer: columns for (layer, kind), columns in self.traces.tensors.items() if kind == tensor}


class Finding(BaseModel):
    """What a rule found: its `figure` beside its `threshold`, in words, and what to do about it.

    A figure is None if the job left nothing to work it out from, which `says` explains.
    """

    model_config = ConfigDict(frozen=True)

    rule: str
    title: str
    status: Status
    figure: float | None
    threshold: float
    says: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """A finding, and the chart that shows it."""

    finding: Finding
    plot: Markup = field(default_factory=Markup)


def cards(diagnoses: Iterable[Diagnosis]) -> Markup:
    """A card for each diagnosis: those that found something first, those without data last."""
    order = ("found", "fine", "unknown")
    drawn = joined(map(_card, sorted(diagnoses, key=lambda one: order.index(one.finding.status))))
    return Markup(f'<div class="cards">{drawn}</div>') if drawn else Markup()


def _card(diagnosis: Diagnosis) -> Markup:
    found = diagnosis.finding
    word = {"found": "found", "fine": "fine", "unknown": "no data"}[found.status]
    figures = f"{found.rule}: {found.figure:.3g}, threshold {found.threshold:.3g}" if found.figure is not None else ""
    advice = f"<p><b>{shown(found.advice)}</b></p>" if found.advice else ""
    return Markup(
        f'<article class="{found.status}"><h3>{shown(found.title)}<span>{word}</span></h3><p>{shown(found.says)}</p>'
        f"{advice}<p class=note>{shown(figures)}</p>{diagnosis.plot}</article>"
    )


def unknown(rule: str, title: str, threshold: float, why: str) -> Diagnosis:
    """What a rule says if the job left nothing that it could look at."""
    return Diagnosis(Finding(rule=rule, title=title, status="unknown", figure=None, threshold=threshold, says=why))


def judged(
    *, rule: str, title: str, found: bool, figure: float, threshold: float, says: str, advice: str = ""
) -> Finding:
    """What a rule says whose figure is known; advice is for those who need it."""
    return Finding(
        rule=rule,
        title=title,
        status="found" if found else "fine",
        figure=figure,
        threshold=threshold,
        says=says,
        advice=advice if found else "",
    )


def share_of(loss: float, change: float) -> float:
    """A change as a share of the loss that it began from, or of `NO_LOSS` if that is more."""
    return change / max(loss, NO_LOSS)


def fell(share: float) -> str:
    """How far a value fell, or rose, in words."""
    if share < -MANY_TIMES:
        return f"rose to {1 - share:.3g} times its value"
    return f"{'fell' if share >= 0 else 'rose'} by {abs(share):.1%}"


def counted(number: int, noun: str) -> str:
    """A number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def few(names: Sequence[str]) -> str:
    """The first names of many."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def short(value: float) -> str:
    """A number in three digits."""
    return f"{value:.3g}"


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{share:.0%}"
