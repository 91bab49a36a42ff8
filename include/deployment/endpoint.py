"""The endpoint and the model behind it: created, updated or left alone, and taken down again.

Sources: API reference of CreateModel, CreateEndpointConfig, CreateEndpoint, UpdateEndpoint, DescribeEndpoint
(EndpointStatus).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from include.deployment.hosting import (
    KEEP_PREVIOUS_TAG,
    KEEP_TAG,
    VERSION_TAG,
    change_problems,
    last_proven,
    note_deployed,
    probation_tags,
    run_after,
    target_of,
    with_version,
)
from include.deployment.traffic import (
    RETAINED,
    VARIANT,
    Scaling,
    deployment_config,
    live_scaling,
    pause_scaling,
    put_alarms,
    resume_scaling_or_log,
)
from include.sagemaker.api import existing
from include.sagemaker.containers import ModelContainer
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run, content_name, encryption, network, tags

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.deployment.hosting import Hosting
    from include.deployment.registry import RegisteredModel
    from include.run_conf import EndpointConf, RolloutConf, RunConf
    from include.settings import Settings


CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})
Action = Literal["created", "updated", "unchanged"]


class DeploymentError(RuntimeError):
    """The endpoint does not serve what was asked; the message says what it serves instead and why."""


class EndpointBusyError(DeploymentError):
    """Another change of the endpoint is under way: deploy when that has ended."""


class SupersededError(DeploymentError):
    """Another run has changed the endpoint since this one did."""


class NoServedModelError(ValueError):
    """There is no such endpoint, or what it serves was not trained by this project."""


class EndpointVariant(BaseModel):
    """One model behind an endpoint."""

    model_config = ConfigDict(frozen=True)

    name: str
    model: str
    instance_type: str | None = None
    instance_count: int | None = None
    weight: float = 1.0


class EndpointResult(BaseModel):
    """An endpoint as AWS describes it; `target` is the configuration that it serves, or is changing to.

    `rollout` is the kind of rollout with which a deployment moved its traffic in steps; empty if none did.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    status: str
    config: str
    target: str = ""
    variants: tuple[EndpointVariant, ...] = ()
    failure_reason: str | None = None
    rollout: str = ""


class ServedModel(BaseModel):
    """The model that an endpoint serves: what answers with it, and the dataset version that it learned from."""

    model_config = ConfigDict(frozen=True)

    name: str
    container: ModelContainer
    dataset_uri: str


@dataclass(frozen=True)
class Deployment:
    """Request bodies of CreateModel, CreateEndpointConfig and CreateEndpoint, with names that follow from content.

    `version` is the registered version that they serve, `keep` whether the endpoint outlives its run, `rollout` how an
    endpoint that serves already changes to them, `keep_previous` how many configurations stay for a rollback,
    `scaling` how the number of machines follows the requests.
    """

    version: RegisteredModel
    keep: bool
    rollout: RolloutConf
    keep_previous: int
    scaling: Scaling | None
    model: dict[str, Any]
    config: dict[str, Any]
    endpoint: dict[str, Any]

    @property
    def endpoint_name(self) -> str:
        """The endpoint's name."""
        return str(self.endpoint["EndpointName"])

    @property
    def variant(self) -> Mapping[str, Any]:
        """The one production variant of the configuration."""
        variant: Mapping[str, Any] = self.config["ProductionVariants"][0]
        return variant

    @property
    def config_name(self) -> str:
        """The configuration's name."""
        return str(self.config["EndpointConfigName"])


def deployment_of(
    model: RegisteredModel, *, conf: RunConf, settings: Settings, run: Run, dataset: DatasetVersion | None = None
) -> Deployment:
    """What it takes to serve a registered model as the conf says."""
    model_body = model_request(model.container, settings=settings, run=run, dataset=dataset, prefix=model.dataset)
    labelled = tags(settings, run, dataset)
    config = _config_request(str(model_body["ModelName"]), conf, settings, labelled)
    endpoint = {
        "EndpointName": conf.endpoint_name,
        "EndpointConfigName": config["EndpointConfigName"],
        "Tags": [
            *labelled,
            {"Key": KEEP_TAG, "Value": str(conf.endpoint.keep).lower()},
            {"Key": KEEP_PREVIOUS_TAG, "Value": str(conf.endpoint.keep_previous)},
        ],
    }
    return Deployment(
        version=model,
        keep=conf.endpoint.keep,
        rollout=conf.endpoint.rollout,
        keep_previous=conf.endpoint.keep_previous,
        scaling=Scaling.of(conf.endpoint.autoscaling),
        model=model_body,
        config=config,
        endpoint=endpoint,
    )


def model_request(
    container: ModelContainer,
    *,
    settings: Settings,
    run: Run,
    dataset: DatasetVersion | None = None,
    prefix: str = "model",
) -> dict[str, Any]:
    """The body of CreateModel; its name follows from everything else in it but the tags, which belong to one run."""
    content = {
        "PrimaryContainer": container.definition,
        "ExecutionRoleArn": settings.execution_role_arn,
        **network(settings),
    }
    name = content_name(dataset.name if dataset else prefix, content)
    return {"ModelName": name, **content, "Tags": tags(settings, run, dataset)}


def ensure_model(sagemaker: SageMakerClient, request: dict[str, Any]) -> str:
    """Create the model unless it is there already; returns its name."""
    name = str(request["ModelName"])
    if existing(sagemaker.describe_model, ModelName=name) is None:
        sagemaker.create_model(**request)
    return name


def deploy(hosting: Hosting, deployment: Deployment) -> Action:
    """Start serving a deployment; wait for the endpoint afterwards, then ask `served`.

    An endpoint that serves, or is about to serve, this very configuration is left alone. One that failed to be created
    is deleted first, which is all AWS allows with it. What is newly served is on probation until `end_probation`, which
    writes the tags of this run. Raises DeploymentError for a change that an endpoint which serves cannot take,
    SupersededError if this run has deployed before and another run after it, EndpointBusyError while another change is
    under way.
    """
    sagemaker, name, config = hosting.sagemaker, deployment.endpoint_name, deployment.config_name
    problems = list(change_problems(hosting, name, keep=deployment.keep, variant=deployment.variant))
    if problems:
        raise DeploymentError(f"Endpoint {name} was not changed. {'; '.join(map(str, problems))}.")
    ensure_model(sagemaker, deployment.model)
    _tag_model(sagemaker, deployment)
    if existing(sagemaker.describe_endpoint_config, EndpointConfigName=config) is None:
        sagemaker.create_endpoint_config(**deployment.config)
    endpoint, tags = existing(sagemaker.describe_endpoint, EndpointName=name), deployment.endpoint["Tags"]
    if endpoint is not None and endpoint["EndpointStatus"] in ("Failed", "Deleting"):
        if endpoint["EndpointStatus"] == "Failed":
            sagemaker.delete_endpoint(EndpointName=name)
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 5, "MaxAttempts": 60})
        endpoint = None
    if endpoint is None:
        note_deployed(sagemaker, config, tags)
        sagemaker.create_endpoint(**{**deployment.endpoint, "Tags": [*tags, *probation_tags(config, None, tags)]})
        return "created"
    arn = endpoint["EndpointArn"]
    if target_of(endpoint) == config:
        return "unchanged"
    _check_turn(sagemaker, deployment, endpoint)
    probation: list[Any] = probation_tags(config, last_proven(sagemaker, endpoint), tags)
    sagemaker.add_tags(ResourceArn=arn, Tags=probation)
    note_deployed(sagemaker, config, tags)
    moved = deployment_config(deployment.rollout, name)
    if moved:
        put_alarms(hosting.cloudwatch, name, config=config, variant=VARIANT, tags=deployment.config["Tags"])
    retained = _retained(hosting, deployment, endpoint)
    try:
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **moved, **retained)
    except Exception:
        resume_scaling_or_log(hosting.autoscaling, sagemaker, name)
        raise
    return "updated"


def _check_turn(sagemaker: SageMakerClient, deployment: Deployment, endpoint: Mapping[str, Any]) -> None:
    """Raises SupersededError if another run has deployed after this one, EndpointBusyError during a change."""
    name, config, target = deployment.endpoint_name, deployment.config_name, target_of(endpoint)
    if later := run_after(sagemaker, name, config=config, tags=deployment.endpoint["Tags"]):
        raise _superseded(name, target, config, later)
    if endpoint["EndpointStatus"] in CHANGING:
        raise EndpointBusyError(
            f"Endpoint {name} is {endpoint['EndpointStatus']} to configuration {target}: "
            f"deploy {config} when that is done."
        )


def _retained(hosting: Hosting, deployment: Deployment, endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What keeps the live count of an endpoint that is scaled. To change its machine, scaling is paused."""
    name, sagemaker = deployment.endpoint_name, hosting.sagemaker
    if live_scaling(hosting.autoscaling, name) is None:
        return {}
    served = existing(sagemaker.describe_endpoint_config, EndpointConfigName=endpoint["EndpointConfigName"]) or {}
    machines = [
        [variant.get("InstanceType") for variant in config.get("ProductionVariants", ())]
        for config in (served, deployment.config)
    ]
    if machines[0] == machines[1]:
        return RETAINED
    pause_scaling(hosting.autoscaling, sagemaker, name, endpoint["EndpointArn"])
    return {}


def _tag_model(sagemaker: SageMakerClient, deployment: Deployment) -> None:
    """Note on the model which registered version it is; the evaluation made it before there was a version."""
    arn = sagemaker.describe_model(ModelName=deployment.model["ModelName"])["ModelArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": VERSION_TAG, "Value": deployment.version.arn}])


def is_served_already(sagemaker: SageMakerClient, deployment: Deployment) -> bool:
    """Whether the endpoint serves a deployment, or is changing to it, so that `deploy` changes nothing."""
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=deployment.endpoint_name)
    if endpoint is None or endpoint["EndpointStatus"] in ("Failed", "Deleting"):
        return False
    return target_of(endpoint) == deployment.config_name


def configs_before(sagemaker: SageMakerClient, deployment: Deployment) -> list[str]:
    """The configuration that an endpoint serves before it is changed to the deployment; none if there is none."""
    endpoint = existing(sagemaker.describe_endpoint, EndpointName=deployment.endpoint_name)
    if endpoint is None or endpoint["EndpointConfigName"] == deployment.config_name:
        return []
    return [endpoint["EndpointConfigName"]]


def served(
    sagemaker: SageMakerClient, deployment: Deployment, *, before: Collection[str] | None = None
) -> EndpointResult:
    """The endpoint once it serves the deployment. Raises DeploymentError if it does not.

    `before` is what `configs_before` returned: an endpoint that serves neither the deployment nor that was changed by
    another run, and SupersededError is raised.
    """
    result, config = describe_endpoint(sagemaker, deployment.endpoint_name), deployment.config_name
    if result.status == "InService" and result.config == config:
        return result
    others = {result.config, result.target} - {config, *(before or ())}
    if before is not None and others and result.status in {"InService", *CHANGING}:
        raise _superseded(result.name, ", ".join(sorted(others)), config)
    if later := run_after(sagemaker, result.name, config=config, tags=deployment.endpoint["Tags"]):
        raise _superseded(result.name, result.target, config, later)
    reason = f" ({result.failure_reason})" if result.failure_reason else ""
    instead = f"; {with_version(sagemaker, result.config)} still serves" if result.status == "InService" else ""
    raise DeploymentError(f"Endpoint {result.name} is {result.status} and does not serve {config}{reason}{instead}.")


def _superseded(endpoint: str, changed_to: str, config: str, run: str = "") -> SupersededError:
    return SupersededError(
        f"Another run has changed endpoint {endpoint} to {changed_to}, and not to {config}{f': {run}' if run else ''}. "
        "It stays so. To deploy this version after all, start deploy_endpoint."
    )


def describe_endpoint(sagemaker: SageMakerClient, name: str) -> EndpointResult:
    """The endpoint and the models behind it."""
    endpoint: Mapping[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
    config = existing(sagemaker.describe_endpoint_config, EndpointConfigName=endpoint["EndpointConfigName"]) or {}
    return EndpointResult(
        name=endpoint["EndpointName"],
        status=endpoint["EndpointStatus"],
        config=endpoint["EndpointConfigName"],
        target=target_of(endpoint),
        variants=tuple(_variant(variant) for variant in config.get("ProductionVariants", ())),
        failure_reason=endpoint.get("FailureReason"),
    )


def served_model(sagemaker: SageMakerClient, endpoint: str) -> ServedModel:
    """The model behind an endpoint; of several variants the one that gets most requests.

    Its dataset version is known from the training job that its artifact is named after. Raises NoServedModelError.
    """
    if existing(sagemaker.describe_endpoint, EndpointName=endpoint) is None:
        raise NoServedModelError(f"There is no endpoint {endpoint} in this account and region: correct the name.")
    variants = describe_endpoint(sagemaker, endpoint).variants
    name = max(variants, key=lambda variant: variant.weight).model if variants else ""
    model = existing(sagemaker.describe_model, ModelName=name) if name else None
    definition = (model or {}).get("PrimaryContainer") or {}
    artifact = str(definition.get("ModelDataUrl", ""))
    job = artifact.rpartition("/output/")[0].rpartition("/")[2]
    described = existing(sagemaker.describe_training_job, TrainingJobName=job) if job else None
    result = JobResult.of_training_job(described) if described else None
    if result is None or result.artifact != artifact or result.dataset_uri is None:
        raise NoServedModelError(
            f"Endpoint {endpoint} serves {name or 'a model without a name'}, which no known training job of this "
            "project made: its classes are unknown. Name the dataset version that it learned from."
        )
    container = ModelContainer.of_definition(definition)
    return ServedModel(name=name, container=container, dataset_uri=result.dataset_uri)


def _config_request(model: str, conf: RunConf, settings: Settings, labelled: list[dict[str, str]]) -> dict[str, Any]:
    variant = {"VariantName": VARIANT, "ModelName": model, **capacity(conf.endpoint), "InitialVariantWeight": 1.0}
    content = {
        "ProductionVariants": [variant],
        **encryption(settings),
        **_capture(conf, settings),
    }
    return {"EndpointConfigName": content_name(conf.endpoint_name, content), **content, "Tags": labelled}


def capacity(conf: EndpointConf) -> dict[str, Any]:
    """Members of a production variant: the machines that answer, or the memory for each request."""
    serverless = conf.serverless
    if serverless.enabled:
        return {"ServerlessConfig": {"MemorySizeInMB": serverless.memory_mb, "MaxConcurrency": serverless.concurrency}}
    return {"InstanceType": conf.instance_type, "InitialInstanceCount": conf.instance_count}


def _capture(conf: RunConf, settings: Settings) -> dict[str, Any]:
    """`DataCaptureConfig`: which share of requests and answers is kept, and where; empty if none is."""
    percent = conf.endpoint.capture_percent
    if not percent:
        return {}
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": percent,
        "DestinationS3Uri": f"s3://{settings.output_bucket}/captured/{conf.endpoint_name}",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        **encryption(settings),
    }
    return {"DataCaptureConfig": config}


def _variant(variant: Mapping[str, Any]) -> EndpointVariant:
    return EndpointVariant(
        name=variant["VariantName"],
        model=variant.get("ModelName", ""),
        instance_type=variant.get("InstanceType"),
        instance_count=variant.get("InitialInstanceCount"),
        weight=variant.get("InitialVariantWeight", 1.0),
    )
