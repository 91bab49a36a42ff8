"""The services behind an endpoint, and the end of an endpoint: what was made for it goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from include.deployment.autoscaling import stop_scaling
from include.deployment.previous import is_named_elsewhere, remove_previous, target_of
from include.deployment.rollout import delete_alarms
from include.sagemaker.answers import existing
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

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


def tear_down(hosting: Hosting, endpoint_name: str, *, config: str | None = None) -> list[str]:
    """Delete an endpoint, its alarms, its configurations and their models; returns the names of what was deleted.

    What is gone already is passed over, so a second call finishes what a first one began. With `config`, an endpoint
    that serves another configuration, or is about to, belongs to somebody else and stays. So does a model that another
    configuration names.
    """
    sagemaker = hosting.sagemaker
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=endpoint_name)
    if endpoint is None or (config is not None and target_of(endpoint) != config):
        return []
    config_name = endpoint["EndpointConfigName"]
    described = existing(sagemaker.describe_endpoint_config, EndpointConfigName=config_name)
    models = sorted({variant["ModelName"] for variant in described["ProductionVariants"]}) if described else []
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
