"""What answers for a dataset: its endpoint, the version behind it, its machines with their price, and its last day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.clean_up.running_costs import Price, RunningMachines, machines_of
from include.promotion.champion import ENDPOINT_TAG, Champion, UnknownChampionError, champion_of
from include.sagemaker.answers import existing
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.settings import Settings

NAMESPACE = "AWS/SageMaker"
COUNTS = {"requests": "Invocations", "refused": "Invocation4XXErrors", "failed": "Invocation5XXErrors"}
"""What is counted of an endpoint, and CloudWatch's name of it."""
AN_HOUR, HOURS = timedelta(hours=1), 24


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
    """What an endpoint was asked in the last day: sums by hour, the oldest first, and the mean latency by hour."""

    hours: tuple[datetime, ...]
    counts: Mapping[str, tuple[float, ...]]
    latency_ms: tuple[float | None, ...]

    def total(self, name: str) -> int:
        """The sum over the day: `requests`, `refused` (4xx) or `failed` (5xx)."""
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


def read_traffic(cloudwatch: Any, endpoint: EndpointState, *, now: datetime | None = None) -> Traffic:
    """What CloudWatch has counted of an endpoint in the last day."""
    end = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0) + AN_HOUR
    hours = tuple(end - AN_HOUR * back for back in range(HOURS, 0, -1))

    def by_hour(metric: str, statistic: str) -> dict[datetime, list[float]]:
        found: dict[datetime, list[float]] = {}
        for variant in endpoint.variants:
            dimensions = {"EndpointName": endpoint.name, "VariantName": variant}
            answer = cloudwatch.get_metric_statistics(
                Namespace=NAMESPACE,
                MetricName=metric,
                Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
                StartTime=hours[0],
                EndTime=end,
                Period=3600,
                Statistics=[statistic],
            )
            for point in answer["Datapoints"]:
                hour = point["Timestamp"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
                found.setdefault(hour, []).append(point[statistic])
        return found

    counted = {name: by_hour(metric, "Sum") for name, metric in COUNTS.items()}
    microseconds = by_hour("ModelLatency", "Average")
    latency = [microseconds.get(hour) for hour in hours]
    return Traffic(
        hours=hours,
        counts={name: tuple(sum(found.get(hour, ())) for hour in hours) for name, found in counted.items()},
        latency_ms=tuple(sum(values) / len(values) / 1000 if values else None for values in latency),
    )


def _noted_endpoint(sagemaker: SageMakerClient, settings: Settings, dataset: str) -> str:
    """The endpoint of the dataset's last deployment; before one it is called as the dataset."""
    group = existing(sagemaker.describe_model_package_group, ModelPackageGroupName=settings.registry_group(dataset))
    noted = tags_of(sagemaker, group["ModelPackageGroupArn"]) if group else {}
    return noted.get(ENDPOINT_TAG, dataset)
