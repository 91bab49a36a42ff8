"""What runs now and is paid by the hour: the machines of endpoints and of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict

from include.sagemaker.answers import existing
from include.sagemaker.job_kinds import TRAINING, TRANSFORM
from include.sagemaker.naming import pages_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

Price = Callable[[str, str], float | None]
"""USD an hour of a machine for a use (`training`, `hosting`, `batchtransform`); None if it is not known."""
WITHOUT_MACHINES = "serverless"


class RunningMachines(BaseModel):
    """Machines that run for something; `usd_per_hour` is that of all of them, None if the price is not known.

    A serverless endpoint has no machines: it is paid by the request.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    name: str
    status: str
    machine: str
    count: int
    usd_per_hour: float | None

    @classmethod
    def of(cls, what: str, summary: tuple[str, str], machines: tuple[str, int], price: float | None) -> Self:
        """The machines, by type and number, of something with this name and status."""
        (name, status), (machine, count) = summary, machines
        cost = None if price is None else round(price * count, 4)
        return cls(what=what, name=name, status=status, machine=machine, count=count, usd_per_hour=cost)


def running_machines(sagemaker: SageMakerClient, price: Price) -> Iterator[RunningMachines]:
    """The machines of all endpoints and running jobs in the account and region; a tuning job's are its training jobs'.

    A job that another installation, or a notebook, has started is listed too: it is paid from the same account.
    """
    for summary in pages_of(sagemaker, "list_endpoints", "Endpoints"):
        if endpoint := existing(sagemaker.describe_endpoint, EndpointName=summary["EndpointName"]):
            yield from machines_of(sagemaker, endpoint, price)
    kinds = ((TRAINING, "ResourceConfig", "training"), (TRANSFORM, "TransformResources", "batchtransform"))
    for kind, part, use in kinds:
        for summary in list(pages_of(sagemaker, kind.list, kind.summaries, StatusEquals="InProgress")):
            name = summary[kind.name_field]
            described: Mapping[str, Any] = getattr(sagemaker, kind.describe)(**kind.named(name))
            machines = described[part].get("InstanceType", ""), int(described[part].get("InstanceCount", 1))
            yield RunningMachines.of(kind.noun, (name, "InProgress"), machines, price(machines[0], use))


def machines_of(sagemaker: SageMakerClient, endpoint: Mapping[str, Any], price: Price) -> Iterator[RunningMachines]:
    """The machines of a described endpoint, variant by variant."""
    summary = endpoint["EndpointName"], endpoint["EndpointStatus"]
    for machines in _of_endpoint(sagemaker, endpoint):
        yield RunningMachines.of("endpoint", summary, machines, price(machines[0], "hosting"))


def costs_table(found: Iterable[RunningMachines]) -> list[str]:
    """The lines of a log: a row for each, and the sum of what is known."""
    rows = list(found)
    if not rows:
        return ["Nothing runs: no endpoint, no training job, no batch transform."]
    cells = [("what", "name", "status", "machines", "USD an hour"), *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    total = sum(row.usd_per_hour for row in rows if row.usd_per_hour is not None)
    unknown = sorted({row.machine for row in rows if row.usd_per_hour is None and row.count})
    beside = f"; the price of {', '.join(unknown)} is not known (the setting prices may name it)" if unknown else ""
    return [*lines, f"In all {total:.2f} USD an hour, {total * 24 * 30:,.0f} a month{beside}."]


def _of_endpoint(sagemaker: SageMakerClient, endpoint: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    config = existing(sagemaker.describe_endpoint_config, EndpointConfigName=endpoint["EndpointConfigName"]) or {}
    now = {variant["VariantName"]: variant for variant in endpoint.get("ProductionVariants", ())}
    for variant in config.get("ProductionVariants", ()):
        current: Mapping[str, Any] = now.get(variant["VariantName"], {})
        if "ServerlessConfig" in variant:
            yield WITHOUT_MACHINES, 0
        else:
            count = current.get("CurrentInstanceCount", variant.get("InitialInstanceCount", 1))
            yield variant.get("InstanceType", ""), int(count)


def _cells(row: RunningMachines) -> tuple[str, ...]:
    machines = f"{row.count} x {row.machine}" if row.count else row.machine
    unknown = "by request" if row.machine == WITHOUT_MACHINES else "not known"
    cost = unknown if row.usd_per_hour is None else f"{row.usd_per_hour:.3f}"
    return row.what, row.name, row.status, machines, cost
