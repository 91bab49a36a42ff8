"""What runs at SageMaker and what it costs an hour, and what of it is needed no more.

That is: jobs that run although no task waits for them, endpoints that outlived their run, and models that nothing
serves. A task that is marked as failed in the moment between its deferral and its trigger's first line leaves its job
running: Airflow informs neither the task nor the trigger. So does a run that is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict

from include.clean_up.findings import FINISHED, Airflow, Finding, StillNeededError
from include.deployment.endpoint import CHANGING
from include.deployment.hosting import (
    KEEP_TAG,
    Hosting,
    configs_in_use,
    deployed_by,
    kept_for_rollback,
    models_of_transform_jobs,
    tear_down,
)
from include.sagemaker.api import TRAINING, TRANSFORM, TUNING, JobKind, existing, pages_of
from include.sagemaker.job_results import is_of_installation
from include.sagemaker.naming import is_named_by_content, tags_of, task_of_job

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
    for machines in _machines_by_variant(sagemaker, endpoint):
        yield RunningMachines.of("endpoint", summary, machines, price(machines[0], "hosting"))


def costs_table(found: Iterable[RunningMachines]) -> list[str]:
    """The lines of a log: a row for each, and the sum of what is known."""
    rows = list(found)
    if not rows:
        return ["Nothing runs: no endpoint, no training job, no batch transform."]
    cells = [("what", "name", "status", "machines", "USD an hour"), *(_cost_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    total = sum(row.usd_per_hour for row in rows if row.usd_per_hour is not None)
    unknown = sorted({row.machine for row in rows if row.usd_per_hour is None and row.count})
    beside = f"; the price of {', '.join(unknown)} is not known (the setting prices may name it)" if unknown else ""
    return [*lines, f"In all {total:.2f} USD an hour, {total * 24 * 30:,.0f} a month{beside}."]


def _machines_by_variant(sagemaker: SageMakerClient, endpoint: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    config = existing(sagemaker.describe_endpoint_config, EndpointConfigName=endpoint["EndpointConfigName"]) or {}
    now = {variant["VariantName"]: variant for variant in endpoint.get("ProductionVariants", ())}
    for variant in config.get("ProductionVariants", ()):
        current: Mapping[str, Any] = now.get(variant["VariantName"], {})
        if "ServerlessConfig" in variant:
            yield WITHOUT_MACHINES, 0
        else:
            count = current.get("CurrentInstanceCount", variant.get("InitialInstanceCount", 1))
            yield variant.get("InstanceType", ""), int(count)


def _cost_cells(row: RunningMachines) -> tuple[str, ...]:
    machines = f"{row.count} x {row.machine}" if row.count else row.machine
    unknown = "by request" if row.machine == WITHOUT_MACHINES else "not known"
    cost = unknown if row.usd_per_hour is None else f"{row.usd_per_hour:.3f}"
    return row.what, row.name, row.status, machines, cost


def orphaned_jobs(
    sagemaker: SageMakerClient, airflow: Airflow, *, output_bucket: str, unknown_runs: bool
) -> Iterator[Finding]:
    """The running jobs of tasks that are over or gone; those of runs that Airflow does not know stay unless asked.

    Jobs whose name does not follow from their tags are passed over: they are not this project's, or started by a tuning
    job. So are those that write to another bucket: they are another installation's, whose runs may be called alike.
    Right before a job is stopped, Airflow is asked again.
    """
    for kind in (TUNING, TRAINING, TRANSFORM):
        summaries = pages_of(sagemaker, kind.list, kind.summaries, StatusEquals="InProgress")
        for summary in list(summaries):
            name = summary[kind.name_field]
            tags = tags_of(sagemaker, summary[kind.arn_field])
            task = task_of_job(name, tags, kind.longest_name)
            if task is None:
                continue
            waiter = _Waiter(airflow, tags["dag"], tags["run"], task)
            why = waiter.why_it_does_not_wait()
            if why is not None and is_of_installation(_described_job(sagemaker, kind, name), output_bucket):
                stop = partial(_stop_job, sagemaker, kind, name, waiter)
                yield Finding(kind.noun, name, why, stop if waiter.is_known or unknown_runs else None)


@dataclass(frozen=True)
class _Waiter:
    """The task that started a job."""

    airflow: Airflow
    dag_id: str
    run_id: str
    task: str

    @property
    def is_known(self) -> bool:
        return self.airflow.task_states(self.dag_id, self.run_id) is not None

    def why_it_does_not_wait(self) -> str | None:
        """Why it waits for no job any more, None if it may."""
        states = self.airflow.task_states(self.dag_id, self.run_id)
        where = f"{self.task} of {self.dag_id}, {self.run_id}"
        if states is None:
            return f"this Airflow does not know {where}"
        if self.task not in states:
            return f"there is no task {where}"
        state = states[self.task]
        return f"{where} is {state}" if state in FINISHED else None


def _described_job(sagemaker: SageMakerClient, kind: JobKind, name: str) -> Mapping[str, Any]:
    description: Mapping[str, Any] = getattr(sagemaker, kind.describe)(**kind.named(name))
    return description


def _stop_job(sagemaker: SageMakerClient, kind: JobKind, name: str, waiter: _Waiter) -> None:
    if waiter.why_it_does_not_wait() is None:
        raise StillNeededError("its task waits for it again")
    getattr(sagemaker, kind.stop)(**kind.named(name))


def forgotten_endpoints(
    hosting: Hosting, airflow: Airflow, *, output_bucket: str, unknown_runs: bool
) -> Iterator[Finding]:
    """Endpoints that a run with `endpoint.keep` off deployed to last and did not take down, though it is over.

    One to which a later run is deploying stays as long as that run: its tags become those of the later run at the end.
    Endpoints whose models lie in another bucket are another installation's, whose runs may be called alike.
    """
    sagemaker = hosting.sagemaker
    for summary in pages_of(sagemaker, "list_endpoints", "Endpoints"):
        name, tags = summary["EndpointName"], tags_of(sagemaker, summary["EndpointArn"])
        runs = deployed_by(tags)
        if tags.get(KEEP_TAG) != "false" or not runs:
            continue
        if summary["EndpointStatus"] in CHANGING or summary["EndpointStatus"] == "Deleting":
            continue
        states = {run: airflow.run_is_over(*run) for run in runs}
        if False in states.values():
            continue
        config = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
        if _buckets_of_models(sagemaker, config) - {output_bucket}:
            continue
        take_down = partial(tear_down, hosting, name, config=config, unkept_only=True)
        unknown = [", ".join(run) for run, is_over in states.items() if is_over is None]
        if not unknown:
            why = f"endpoint.keep is off and its run is over: {', '.join(runs[-1])}"
            yield Finding("endpoint", name, why, take_down)
        else:
            why = f"endpoint.keep is off and this Airflow does not know its run: {unknown[0]}"
            yield Finding("endpoint", name, why, take_down if unknown_runs else None)


def endpoint_to_delete(hosting: Hosting, name: str) -> Finding:
    """The endpoint that a person wants to have deleted. Raises ValueError if there is none of this name."""
    endpoint = existing(hosting.sagemaker.describe_endpoint, EndpointName=name)
    if endpoint is None:
        raise ValueError(f"delete_endpoint = {name}: there is no such endpoint; show_what_runs lists those there are")
    if endpoint["EndpointStatus"] in CHANGING:
        raise ValueError(f"delete_endpoint = {name}: it is {endpoint['EndpointStatus']}; try again when that has ended")
    return Finding("endpoint", name, "a person asked for it", partial(tear_down, hosting, name))


def unserved(sagemaker: SageMakerClient, *, older_than: timedelta) -> Iterator[Finding]:
    """Configurations that no endpoint serves, then models that neither a configuration nor a transform job names.

    What `endpoint.keep_previous` keeps for a rollback stays as long as its endpoint.
    Both are made again under the same name by the run that needs them. Artifacts and model packages are not touched.
    """
    before, why = datetime.now(UTC) - older_than, f"older than {older_than.days} days, and nothing serves it"
    serving = configs_in_use(sagemaker) | kept_for_rollback(sagemaker)
    needed = models_of_transform_jobs(sagemaker)
    for summary in list(pages_of(sagemaker, "list_endpoint_configs", "EndpointConfigs")):
        name = summary["EndpointConfigName"]
        is_old = summary["CreationTime"] < before and name not in serving
        if is_old and is_named_by_content(name, tags_of(sagemaker, summary["EndpointConfigArn"])):
            yield Finding(
                "endpoint configuration", name, why, partial(sagemaker.delete_endpoint_config, EndpointConfigName=name)
            )
        else:
            variants = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
            needed |= {variant["ModelName"] for variant in variants if "ModelName" in variant}
    for model in list(pages_of(sagemaker, "list_models", "Models", CreationTimeBefore=before)):
        name = model["ModelName"]
        if name not in needed and is_named_by_content(name, tags_of(sagemaker, model["ModelArn"])):
            yield Finding("model", name, why, partial(sagemaker.delete_model, ModelName=name))


def _buckets_of_models(sagemaker: SageMakerClient, config: str) -> set[str]:
    """Where the models of an endpoint configuration lie, as far as they are there."""
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    names = [variant["ModelName"] for variant in described.get("ProductionVariants", []) if "ModelName" in variant]
    models = [existing(sagemaker.describe_model, ModelName=name) or {} for name in names]
    artifacts = [(model.get("PrimaryContainer") or {}).get("ModelDataUrl", "") for model in models]
    return {artifact.removeprefix("s3://").partition("/")[0] for artifact in artifacts if artifact}
