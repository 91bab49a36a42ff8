"""What AWS refuses in models, endpoint configurations and deployments beyond the patterns and ranges of its model.

Sources: docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html, API_CreateEndpointConfig.html,
API_BlueGreenUpdatePolicy.html, API_RollingUpdatePolicy.html, .../dg/serverless-endpoints.html (feature exclusions),
.../dg/deployment-guardrails.html and the pages below it. What AWS offers and this server does not is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from local_aws.aws_errors import not_local, validation_error

NOT_LOCAL_IN_CONFIG = ("ExplainerConfig", "ShadowProductionVariants")
NOT_LOCAL_IN_VARIANT = ("InstancePools", "ManagedInstanceScaling", "CapacityReservationConfig")
NOT_LOCAL_IN_CONTAINER = ("MultiModelConfig", "AdditionalModelDataSources")
SERVERLESS_MEMORY_STEP = 1024


def containers(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers of a CreateModel request; raises ValidationException for one that is not whole."""
    primary, several = request.get("PrimaryContainer"), request.get("Containers")
    if bool(primary) == bool(several):
        raise validation_error("You must provide either PrimaryContainer or Containers, and not both.")
    found: list[dict[str, Any]] = list(several or [primary])
    for container in found:
        check_container(container)
    hostnames = [container.get("ContainerHostname") for container in found]
    named = [hostname for hostname in hostnames if hostname]
    if len(set(named)) < len(named):
        raise validation_error(f"ContainerHostname must be unique in a model: {', '.join(named)}.")
    if (request.get("InferenceExecutionConfig") or {}).get("Mode") == "Direct":
        raise not_local("InferenceExecutionConfig.Mode Direct")
    return found


def check_container(container: Mapping[str, Any]) -> None:
    """Check one container definition."""
    if ("Image" in container) == ("ModelPackageName" in container):
        raise validation_error("Each container needs either Image or ModelPackageName, and not both.")
    if "ModelPackageName" in container and ({"ModelDataUrl", "ModelDataSource"} & set(container)):
        raise validation_error("ModelDataUrl and ModelDataSource can't be given together with ModelPackageName.")
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise validation_error("ModelDataUrl and ModelDataSource can't both be given for a container.")
    if container.get("Mode") == "MultiModel":
        raise not_local("Mode MultiModel")
    for part in NOT_LOCAL_IN_CONTAINER:
        if container.get(part):
            raise not_local(part)


def check_endpoint_config(request: Mapping[str, Any]) -> None:
    """Check an endpoint configuration; that its models exist is checked where the models are."""
    for part in NOT_LOCAL_IN_CONFIG:
        if part in request:
            raise not_local(part)
    variants: Sequence[Mapping[str, Any]] = request["ProductionVariants"]
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise validation_error(f"VariantName must be unique in an endpoint configuration: {', '.join(names)}.")
    for variant in variants:
        _check_variant(variant)
        if "ServerlessConfig" in variant and len(variants) > 1:
            raise validation_error("A serverless endpoint can have one production variant only.")
    if not sum(variant.get("InitialVariantWeight", 1.0) for variant in variants):
        raise validation_error("At least one production variant must have an InitialVariantWeight greater than 0.")
    if "DataCaptureConfig" in request:
        _check_capture(request["DataCaptureConfig"], variants)
    if "AsyncInferenceConfig" in request:
        _check_async(request, variants)


def _check_async(request: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> None:
    output = request["AsyncInferenceConfig"]["OutputConfig"]
    if any("ServerlessConfig" in variant for variant in variants):
        raise validation_error("AsyncInferenceConfig can't be given for a serverless endpoint.")
    if "DataCaptureConfig" in request:
        raise not_local("DataCaptureConfig together with AsyncInferenceConfig")
    if "S3OutputPath" not in output:
        raise not_local("AsyncInferenceConfig without S3OutputPath")
    for path in ("S3OutputPath", "S3FailurePath"):
        if not output.get(path, "s3://").startswith("s3://"):
            raise not_local(f"{path} {output[path]} of AsyncInferenceConfig (s3://bucket/prefix is)")
    if output.get("NotificationConfig", {}).get("IncludeInferenceResponseIn"):
        raise not_local("IncludeInferenceResponseIn")


def _check_capture(config: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> None:
    if not config["DestinationS3Uri"].startswith("s3://"):
        raise not_local(f"DestinationS3Uri {config['DestinationS3Uri']} of DataCaptureConfig (s3://bucket/prefix is)")
    if any("ServerlessConfig" in variant for variant in variants):
        raise validation_error("DataCaptureConfig can't be given for a serverless endpoint.")


def _check_variant(variant: Mapping[str, Any]) -> None:
    name = variant["VariantName"]
    if "ModelName" not in variant:
        raise not_local(f"ProductionVariant {name} without ModelName (an inference component)")
    for part in NOT_LOCAL_IN_VARIANT:
        if part in variant:
            raise not_local(part)
    serverless = variant.get("ServerlessConfig")
    instance_fields = [part for part in ("InstanceType", "InitialInstanceCount") if part in variant]
    if serverless and instance_fields:
        raise validation_error(
            f"ServerlessConfig can't be given together with {' and '.join(instance_fields)} for variant {name}."
        )
    if not serverless and len(instance_fields) < 2:
        raise validation_error(f"Variant {name} needs InstanceType and InitialInstanceCount, or ServerlessConfig.")
    if serverless:
        _check_serverless(serverless, name)


def _check_serverless(serverless: Mapping[str, Any], name: str) -> None:
    memory = serverless["MemorySizeInMB"]
    if memory % SERVERLESS_MEMORY_STEP:
        raise validation_error(
            f"MemorySizeInMB of variant {name} must be 1024, 2048, 3072, 4096, 5120 or 6144, not {memory}."
        )
    provisioned = serverless.get("ProvisionedConcurrency", 0)
    if provisioned > serverless["MaxConcurrency"]:
        raise validation_error(
            f"ProvisionedConcurrency ({provisioned}) of variant {name} must be at most MaxConcurrency "
            f"({serverless['MaxConcurrency']})."
        )


def check_serverless_model(name: str, document: Mapping[str, Any], containers: int) -> None:
    """Check that a model of this many containers can be served without instances; raises ValidationException."""
    excluded = {
        "has a VpcConfig": "VpcConfig" in document,
        "has network isolation (EnableNetworkIsolation)": document.get("EnableNetworkIsolation", False),
        f"is a pipeline of {containers} containers": containers > 1,
    }
    for what, is_so in excluded.items():
        if is_so:
            raise validation_error(f"Model {name} {what}: it can't be served by a serverless endpoint.")


def check_deployment(config: Mapping[str, Any], instances: int) -> None:
    """Check a DeploymentConfig for a fleet of `instances`; raises ValidationException."""
    blue_green, rolling = config.get("BlueGreenUpdatePolicy"), config.get("RollingUpdatePolicy")
    if blue_green and rolling:
        raise validation_error("DeploymentConfig takes either BlueGreenUpdatePolicy or RollingUpdatePolicy, not both.")
    if blue_green:
        _check_traffic(blue_green["TrafficRoutingConfiguration"], instances)
    if rolling:
        _check_share("MaximumBatchSize", rolling["MaximumBatchSize"], instances, 5, 50)
        if "RollbackMaximumBatchSize" in rolling:
            _check_share("RollbackMaximumBatchSize", rolling["RollbackMaximumBatchSize"], instances, 5, 100)


def check_replacement(
    config: Mapping[str, Any], variants: Sequence[Mapping[str, Any]], running: Mapping[str, bool]
) -> None:
    """Check that variants can take over step by step from those that serve; raises ValidationException.

    `running` says for each of these, by name, whether it is serverless. Sources:
    docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-exclusions.html, .../dg/serverless-endpoints.html.
    """
    if any("ServerlessConfig" in variant for variant in variants) and not all(running.values()):
        raise validation_error(
            "An endpoint that has instances can't be updated to a serverless one: make a new endpoint."
        )
    rolling = config.get("RollingUpdatePolicy")
    routing = config.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    names = [variant["VariantName"] for variant in variants]
    if rolling and len(variants) > 1:
        raise validation_error(f"RollingUpdatePolicy can't be used for several variants: {', '.join(names)}.")
    if rolling and "ServerlessConfig" in variants[0]:
        raise validation_error(f"RollingUpdatePolicy can't be used for variant {names[0]}, which is serverless.")
    if (rolling or routing.get("Type", "ALL_AT_ONCE") != "ALL_AT_ONCE") and sorted(names) != sorted(running):
        raise validation_error(
            "To shift traffic in steps the new endpoint configuration must have the variant names of the old one: "
            f"{', '.join(running)}, not {', '.join(names)}."
        )


def _check_traffic(routing: Mapping[str, Any], instances: int) -> None:
    kind = routing["Type"]
    for size, wanted_by, least in (("CanarySize", "CANARY", 1), ("LinearStepSize", "LINEAR", 10)):
        if (size in routing) != (kind == wanted_by):
            verb = "is required" if kind == wanted_by else "can't be given"
            raise validation_error(f"{size} {verb} when the traffic routing type is {kind}.")
        if size in routing:
            _check_share(size, routing[size], instances, least, 50)


def _check_share(field: str, size: Mapping[str, Any], instances: int, least: int, most: int) -> None:
    value = size["Value"]
    if size["Type"] == "CAPACITY_PERCENT":
        if not least <= value <= most:
            raise validation_error(f"{field} must be {least} to {most} percent of the capacity, not {value}.")
    elif value > max(1, instances * most // 100) or 100 * value < least * instances:
        raise validation_error(
            f"{field} must be {least} to {most} percent of the endpoint's {instances} instances, not {value} instances."
        )
