"""What answers for a dataset: its endpoint, the version behind it, its machines with their price, and its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.clean_up.running import Price, RunningMachines, machines_of
from include.promotion.champion import ENDPOINT_TAG, Champion, UnknownChampionError, champion_of
from include.sagemaker.api import existing
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.settings import Settings

NAMESPACE = "AWS/SageMaker"
COUNTS = {"requests": "Invocations", "refused": "Invocation4XXErrors", "failed": "Invocation5XXErrors"}
"""What is counted of an endpoint, and CloudWatch's name of it."""


@dataclass(frozen=True)
class Span:
    """A time until now for which requests are counted: `count` equal steps, `clock` is how a step is written."""

    title: str
    step: timedelta
    count: int
    clock: str

    @property
    def step_title(self) -> str:
        """A step in words."""
        minutes = int(self.step.total_seconds() // 60)
        return f"{minutes // 60} hours" if minutes > 60 else "hour" if minutes == 60 else f"{minutes} minutes"


SPANS = {
    "hour": Span("The last hour", timedelta(minutes=5), 12, "%H:%M"),
    "day": Span("The last day", timedelta(hours=1), 24, "%H:%M"),
    "week": Span("The last week", timedelta(hours=6), 28, "%d %b %H:%M"),
}
DAY = SPANS["day"]


@dataclass(frozen=True)
class EndpointState:
    """An endpoint as AWS describes it; `changed` is when it was last updated, by whatever."""

    name: str
    status: str
    changed: datetime
    machines: tuple[RunningMachines, ...] = ()
    variants: tuple[str, ...] = ()
    failure: str = ""

    @property
    def usd_per_hour(self) -> float | None:
        """Of all its machines; None if a price is not known."""
        costs = [machines.usd_per_hour for machines in self.machines]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if costs and len(known) == len(costs) else None


@dataclass(frozen=True)
class Serving:
    """What serves a dataset.

    `champion` is None if the dataset has none, or if it is not known, which `unknown` explains. `endpoint` is None if
    no endpoint has the dataset's name, or that of its last deployment.
    """

    champion: Champion | None = None
    endpoint: EndpointState | None = None
    unknown: str = ""

    @property
    def serves(self) -> bool:
        """Whether an endpoint answers with the champion."""
        return self.champion is not None and self.champion.live is not None


@dataclass(frozen=True)
class Traffic:
    """What an endpoint was asked in a span: sums by step, the oldest first, and the latency in the model by step."""

    span: Span
    moments: tuple[datetime, ...]
    counts: Mapping[str, tuple[float, ...]]
    latency_ms: tuple[float | None, ...]
    worst_latency_ms: tuple[float | None, ...]

    def total(self, name: str) -> int:
        """The sum over the span: `requests`, `refused` (4xx) or `failed` (5xx)."""
        return round(sum(self.counts[name]))


def read_serving(sagemaker: SageMakerClient, settings: Settings, dataset: str, price: Price) -> Serving:
    """The champion of a dataset and its endpoint."""
    unknown, champion = "", None
    try:
        champion = champion_of(sagemaker, settings=settings, dataset=dataset)
    except UnknownChampionError as error:
        unknown = str(error)
    name = champion.live.name if champion and champion.live else _noted_endpoint(sagemaker, settings, dataset)
    return Serving(champion, read_endpoint(sagemaker, name, price), unknown)


def read_endpoint(sagemaker: SageMakerClient, name: str, price: Price) -> EndpointState | None:
    """An endpoint of this name; None if there is none."""
    described = existing(sagemaker.describe_endpoint, EndpointName=name)
    if described is None:
        return None
    return EndpointState(
        name=name,
        status=described["EndpointStatus"],
        changed=described["LastModifiedTime"],
        machines=tuple(machines_of(sagemaker, described, price)),
        variants=tuple(variant["VariantName"] for variant in described.get("ProductionVariants", ())),
        failure=described.get("FailureReason", ""),
    )


def read_traffic(cloudwatch: Any, endpoint: EndpointState, *, span: Span = DAY, now: datetime | None = None) -> Traffic:
    """What CloudWatch has counted of an endpoint in a span until now."""
    length = int(span.step.total_seconds())
    end = _step_of(now or datetime.now(UTC), length) + span.step
    moments = tuple(end - span.step * back for back in range(span.count, 0, -1))

    def by_step(metric: str, *statistics: str) -> dict[str, dict[datetime, list[float]]]:
        found: dict[str, dict[datetime, list[float]]] = {statistic: {} for statistic in statistics}
        for variant in endpoint.variants:
            dimensions = {"EndpointName": endpoint.name, "VariantName": variant}
            answer = cloudwatch.get_metric_statistics(
                Namespace=NAMESPACE,
                MetricName=metric,
                Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
                StartTime=moments[0],
                EndTime=end,
                Period=length,
                Statistics=list(statistics),
            )
            for point in answer["Datapoints"]:
                step = _step_of(point["Timestamp"].astimezone(UTC), length)
                for statistic in statistics:
                    found[statistic].setdefault(step, []).append(point[statistic])
        return found

    counted = {name: by_step(metric, "Sum")["Sum"] for name, metric in COUNTS.items()}
    microseconds = by_step("ModelLatency", "Average", "Maximum")
    mean, worst = ([microseconds[each].get(step) for step in moments] for each in ("Average", "Maximum"))
    return Traffic(
        span=span,
        moments=moments,
        counts={name: tuple(sum(found.get(step, ())) for step in moments) for name, found in counted.items()},
        latency_ms=tuple(sum(values) / len(values) / 1000 if values else None for values in mean),
        worst_latency_ms=tuple(max(values) / 1000 if values else None for values in worst),
    )


def _step_of(moment: datetime, seconds: int) -> datetime:
    """The beginning of the step in which a moment lies; steps are counted from 1970 on, as CloudWatch does."""
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def _noted_endpoint(sagemaker: SageMakerClient, settings: Settings, dataset: str) -> str:
    """The endpoint of the dataset's last deployment; before one it is called as the dataset."""
    group = existing(sagemaker.describe_model_package_group, ModelPackageGroupName=settings.registry_group(dataset))
    noted = tags_of(sagemaker, group["ModelPackageGroupArn"]) if group else {}
    return noted.get(ENDPOINT_TAG, dataset)
