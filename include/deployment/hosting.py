"""The services behind an endpoint, what one that serves may not become, and its end: what was made for it goes with it.

Sources: developer guide, "Update a serverless endpoint" (machines do not become serverless; the way back from a failed
conversion of the other kind would be that) and "Update endpoints that use auto scaling".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from include.deployment.autoscaling import lost_by_pause, stop_scaling
from include.deployment.previous import (
    PREVIOUS_TAG,
    is_named_elsewhere,
    models_of_transform_jobs,
    note_replaced,
    remove_previous,
    target_of,
)
from include.deployment.rollout import delete_alarms
from include.problems import Problem
from include.sagemaker.answers import existing
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

KEEP_TAG = "keep"
"""Tag of an endpoint: `endpoint.keep` of the run that created it, or of the last one whose model has passed there."""
VERSION_TAG = "model-package"
"""Tag of a model: the ARN of the registered version that it is."""


@dataclass(frozen=True)
class Hosting:
    """The clients of the services that an endpoint needs."""

    sagemaker: SageMakerClient
    cloudwatch: Any
    autoscaling: Any

    @classmethod
    def of(cls, client: Callable[[str], Any]) -> Self:
        """The clients that `client` makes by a service's name."""
        return cls(client("sagemaker"), client("cloudwatch"), client("application-autoscaling"))


def with_version(sagemaker: SageMakerClient, config: str) -> str:
    """A configuration's name, with the registered versions behind it as far as they are known."""
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    names = [variant["ModelName"] for variant in described.get("ProductionVariants", ()) if "ModelName" in variant]
    models = [model for name in names if (model := existing(sagemaker.describe_model, ModelName=name))]
    packages = [tags_of(sagemaker, model["ModelArn"]).get(VERSION_TAG, "") for model in models]
    versions = [" version ".join(arn.rpartition(":")[2].split("/")[1:]) for arn in packages if arn]
    return f"{config} ({', '.join(versions)})" if versions else config


def change_problems(hosting: Hosting, name: str, *, keep: bool, variant: Mapping[str, Any]) -> Iterator[Problem]:
    """What a deployment may not change of the endpoint `name`: nothing if there is none that serves.

    `keep` is its `endpoint.keep`, `variant` the production variant that it asks for.
    """
    sagemaker = hosting.sagemaker
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=name)
    if endpoint is None or endpoint["EndpointStatus"] in ("Failed", "Deleting"):
        return
    config, elsewhere = endpoint["EndpointConfigName"], "give another endpoint.name"
    if not keep and tags_of(sagemaker, endpoint["EndpointArn"]).get(KEEP_TAG) != "false":
        serves = f"endpoint {name} serves {with_version(sagemaker, config)} and is to be kept"
        remedy = f"{serves}, and this run would delete the endpoint at its end: {elsewhere}, or leave endpoint.keep on"
        yield Problem(field="endpoint.keep", value=False, remedy=remedy)
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) or {}
    yield from _machine_problems(hosting, name, described.get("ProductionVariants", ()), variant)


def _machine_problems(
    hosting: Hosting, name: str, served: Collection[Mapping[str, Any]], variant: Mapping[str, Any]
) -> Iterator[Problem]:
    """A change from machines to none, or back, and one of machines that would cost policies of a person."""
    machines = {served_by["InstanceType"] for served_by in served if "InstanceType" in served_by}
    serverless = any("ServerlessConfig" in served_by for served_by in served)
    memory, machine = variant.get("ServerlessConfig", {}).get("MemorySizeInMB"), variant.get("InstanceType")
    field = "endpoint.serverless.memory_mb"
    if machines and memory:
        remedy = f"endpoint {name} has machines and cannot become serverless: give another endpoint.name"
        yield Problem(field=field, value=memory, remedy=remedy)
    elif serverless and machine:
        remedy = (
            f"endpoint {name} is serverless and could not go back from machines to that: give another endpoint.name, "
            "or the memory that it has"
        )
        yield Problem(field=field, value=memory, remedy=remedy)
    elif machines and machines != {machine} and (lost := lost_by_pause(hosting.autoscaling, name)):
        remedy = (
            f"endpoint {name} has {', '.join(sorted(machines))}, and another machine ends the scaling policies and "
            f"scheduled actions that were made by hand: {', '.join(lost)}. Keep the machine, delete these, or give "
            "another endpoint.name"
        )
        yield Problem(field="endpoint.instance_type", value=machine, remedy=remedy)


def tear_down(
    hosting: Hosting, endpoint_name: str, *, config: str | None = None, unkept_only: bool = False
) -> list[str]:
    """Delete an endpoint, its alarms, its configurations and their models; returns the names of what was deleted.

    What is gone already is passed over, so a second call finishes what a first one began. With `config`, an endpoint
    that serves another configuration, or is about to, belongs to somebody else and stays. With `unkept_only`, so does
    one that is to be kept by now. A model that another configuration or a running transform job names stays too.
    """
    sagemaker = hosting.sagemaker
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=endpoint_name)
    if endpoint is None or (config is not None and target_of(endpoint) != config):
        return []
    tags = tags_of(sagemaker, endpoint["EndpointArn"])
    if unkept_only and tags.get(KEEP_TAG) != "false":
        return []
    if previous := tags.get(PREVIOUS_TAG):  # not noted yet as replaced, if the endpoint is on probation
        note_replaced(sagemaker, endpoint_name, previous)
    config_name = endpoint["EndpointConfigName"]
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config_name)
    variants = described["ProductionVariants"] if described else []
    models = sorted(
        {variant["ModelName"] for variant in variants if "ModelName" in variant} - models_of_transform_jobs(sagemaker)
    )
    stop_scaling(hosting.autoscaling, endpoint_name)
    gone = [*delete_alarms(hosting.cloudwatch, endpoint_name), *remove_previous(sagemaker, endpoint_name, keep=0)]
    if endpoint["EndpointStatus"] != "Deleting":
        sagemaker.delete_endpoint(EndpointName=endpoint_name)
    deleted = [endpoint_name, *gone]
    for model in models:
        known = existing(sagemaker.describe_model, ModelName=model)
        if known is not None and not is_named_elsewhere(sagemaker, known, config_name):
            sagemaker.delete_model(ModelName=model)
            deleted.append(model)
    if described:
        sagemaker.delete_endpoint_config(EndpointConfigName=config_name)
        deleted.append(config_name)
    return deleted
