"""Hosting: the actions on models, endpoint configurations and endpoints."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from local_aws.aws_errors import AwsError, already_existing, could_not_find, refuse, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.container_files import steering_variables
from local_aws.sagemaker.core.model_artifacts import ModelArtifact
from local_aws.sagemaker.core.resource_table import ResourceTable
from local_aws.sagemaker.core.tags import Tags, check_tags
from local_aws.sagemaker.hosting import rules
from local_aws.sagemaker.hosting.asynchronous import (
    AsyncInput,
    AsyncInvocations,
    AsyncRequest,
    Backlog,
    DeletedError,
)
from local_aws.sagemaker.hosting.capture import CaptureFeed
from local_aws.sagemaker.hosting.endpoint import Endpoint
from local_aws.sagemaker.hosting.model import EndpointConfig, Model
from local_aws.sagemaker.hosting.rollout import Alarms, Plan
from local_aws.sagemaker.hosting.run import Fleet, Variant
from local_aws.sagemaker.hosting.scaling import Scaled, Scaling
from local_aws.sagemaker.registry.api import ModelRegistry

CLOSE_GRACE_SECONDS = 1.0
LAST_FAILURES_SECONDS = 10.0
"""How long a deletion waits for the failures of asynchronous requests to be written."""
CONFIG_FIELDS = (
    "ProductionVariants",
    "KmsKeyId",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
    "MetricsConfig",
    "DataCaptureConfig",
    "AsyncInferenceConfig",
)


class Models(Area):
    """Models and endpoint configurations."""

    resource_types = frozenset({"model", "endpoint-config"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self.models: ResourceTable[Model] = ResourceTable(
            taken=lambda model: already_existing("model", model.arn),
            unknown=lambda name: could_not_find("model", self.aws.arn("model", name)),
        )
        self.configs: ResourceTable[EndpointConfig] = ResourceTable(
            taken=lambda config: already_existing("endpoint configuration", config.arn),
            unknown=lambda name: could_not_find("endpoint configuration", self.aws.arn("endpoint-config", name)),
        )

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on models and endpoint configurations."""
        return {
            "CreateModel": self.create_model,
            "DescribeModel": lambda request: self.models.get(request["ModelName"]).describe(),
            "ListModels": self.list_models,
            "DeleteModel": self.delete_model,
            "CreateEndpointConfig": self.create_config,
            "DescribeEndpointConfig": lambda request: self.configs.get(request["EndpointConfigName"]).describe(),
            "ListEndpointConfigs": self.list_configs,
            "DeleteEndpointConfig": self.delete_config,
        }

    def create_model(self, request: Document) -> Document:
        """CreateModel: the image must be known and the model data in S3."""
        name = request["ModelName"]
        arn = self.aws.arn("model", name)
        if self.models.find(name) is not None:
            raise already_existing("model", arn)
        check_tags(request.get("Tags", []))
        role = request.get("ExecutionRoleArn")
        given = rules.containers(request)
        containers = tuple(self._runnable(container, role) for container in given)
        document = {key: value for key, value in request.items() if key not in ("ModelName", "Tags")}
        document.setdefault("EnableNetworkIsolation", False)
        for container in given:
            container.setdefault("Mode", "SingleModel")
        self.models.add(Model(name, arn, document, containers))
        self.sagemaker.area(Tags).register(arn, request.get("Tags", []))
        return {"ModelArn": arn}

    def list_models(self, request: Document) -> Document:
        """ListModels."""
        return self.models.page(request, "Models", Model.summary, sort_order="Descending")

    def delete_model(self, request: Document) -> Document:
        """DeleteModel; what runs it keeps running."""
        model = self.models.remove(request["ModelName"])
        self.sagemaker.area(Tags).forget(model.arn)
        return {}

    def create_config(self, request: Document) -> Document:
        """CreateEndpointConfig: every variant's model must exist."""
        name = request["EndpointConfigName"]
        arn = self.aws.arn("endpoint-config", name)
        if self.configs.find(name) is not None:
            raise already_existing("endpoint configuration", arn)
        check_tags(request.get("Tags", []))
        rules.check_endpoint_config(request)
        for variant in request["ProductionVariants"]:
            model = self.models.get(variant["ModelName"])
            if "ServerlessConfig" in variant:
                rules.check_serverless_model(model.name, model.document, len(model.containers))
            variant.setdefault("InitialVariantWeight", 1.0)
        self.configs.add(EndpointConfig(name, arn, {key: request[key] for key in CONFIG_FIELDS if key in request}))
        self.sagemaker.area(Tags).register(arn, request.get("Tags", []))
        return {"EndpointConfigArn": arn}

    def list_configs(self, request: Document) -> Document:
        """ListEndpointConfigs."""
        return self.configs.page(request, "EndpointConfigs", EndpointConfig.summary, sort_order="Descending")

    def delete_config(self, request: Document) -> Document:
        """DeleteEndpointConfig; an endpoint that uses it keeps running."""
        config = self.configs.remove(request["EndpointConfigName"])
        self.sagemaker.area(Tags).forget(config.arn)
        return {}

    def _runnable(self, container: Document, role: str | None) -> Document:
        """The container with what its model package holds, after checking its image and model data."""
        resolved = self._from_package(container) if "ModelPackageName" in container else container
        if "Image" not in resolved:
            raise validation_error(f"Model package {container['ModelPackageName']} names no Image to run.")
        self.aws.server.images.runnable(resolved["Image"], "serve")
        refuse(steering_variables(resolved.get("Environment", {}), "Environment of the container"))
        artifact = ModelArtifact.of(resolved)
        if artifact is not None:
            artifact.check(self.aws, role)
        return resolved

    def _from_package(self, container: Document) -> Document:
        package = self.sagemaker.area(ModelRegistry).get(container["ModelPackageName"])
        specification = package.specification(container.get("InferenceSpecificationName"))
        if specification is None:
            raise validation_error(f"Model package {package.arn} has no such inference specification.")
        if package.document.get("ModelApprovalStatus") == "Rejected":
            raise validation_error(f"Model package {package.arn} was rejected: it can't be deployed.")
        packaged: Document = dict(specification["Containers"][0])
        environment = {**packaged.get("Environment", {}), **container.get("Environment", {})}
        return {**packaged, "Environment": environment}


class Endpoints(Area):
    """Endpoints and the traffic to them."""

    resource_types = frozenset({"endpoint"})

    def __init__(self, sagemaker: Neighbours) -> None:
        super().__init__(sagemaker)
        self._endpoints: ResourceTable[Endpoint] = ResourceTable(
            taken=lambda endpoint: already_existing("endpoint", endpoint.arn),
            unknown=lambda name: could_not_find("endpoint", self.aws.arn("endpoint", name)),
        )
        self._captures = CaptureFeed(self.aws)
        self.scaling = Scaling(self.aws, self._scaled)
        self._asynchronous = AsyncInvocations(self.aws, lambda name: self._routed(name, None))

    @property
    def actions(self) -> Mapping[str, Action]:
        """The actions on endpoints."""
        return {
            "CreateEndpoint": self.create,
            "DescribeEndpoint": lambda request: self._endpoints.get(request["EndpointName"]).describe(),
            "ListEndpoints": self.list_endpoints,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.update_weights,
            "DeleteEndpoint": self.delete,
        }

    def create(self, request: Document) -> Document:
        """CreateEndpoint: Creating, then InService when every variant answers /ping, or Failed with the reason."""
        name = request["EndpointName"]
        config = self.sagemaker.area(Models).configs.get(request["EndpointConfigName"])
        _plan(request.get("DeploymentConfig", {}), config.instances({}))
        endpoint = Endpoint(name, self.aws.arn("endpoint", name), config, served_by=self.scaling.keep)
        tags = request.get("Tags", [])
        check_tags(tags)
        if self._endpoints.find(name) is not None:
            raise already_existing("endpoint", endpoint.arn)
        if endpoint.asynchronous is not None:
            self._asynchronous.announce(endpoint.asynchronous)
        endpoint.backlog = self._backlog(endpoint)
        endpoint.pending = self._fleet(name, config)
        endpoint.deployment_config = request.get("DeploymentConfig")
        self._endpoints.add(endpoint)
        self.sagemaker.area(Tags).register(endpoint.arn, tags)
        _in_background(f"deploy-{name}", endpoint.deploy)
        return {"EndpointArn": endpoint.arn}

    def list_endpoints(self, request: Document) -> Document:
        """ListEndpoints."""
        return self._endpoints.page(request, "Endpoints", Endpoint.summary, sort_order="Descending")

    def update(self, request: Document) -> Document:
        """UpdateEndpoint: traffic moves as the DeploymentConfig says, back to the old fleet when the new one fails."""
        endpoint = self._endpoints.get(request["EndpointName"])
        config = self.sagemaker.area(Models).configs.get(request["EndpointConfigName"])
        excluded = {entry["VariantPropertyType"] for entry in request.get("ExcludeRetainedVariantProperties", ())}
        is_retained = request.get("RetainAllVariantProperties", False)
        if excluded and not is_retained:
            raise validation_error(
                "ExcludeRetainedVariantProperties can only be given when RetainAllVariantProperties is true."
            )
        endpoint.check_in_service()
        running = endpoint.fleet.variants if endpoint.fleet is not None else []
        kept = running if is_retained else []
        weights = {variant.name: variant.weight for variant in kept if "DesiredWeight" not in excluded}
        counted = [variant for variant in kept if variant.serverless is None]
        counts = {variant.name: variant.instances for variant in counted if "DesiredInstanceCount" not in excluded}
        is_reused = request.get("RetainDeploymentConfig", False)
        deployment = endpoint.deployment_config if is_reused else request.get("DeploymentConfig")
        serverless = {variant.name: variant.serverless is not None for variant in running}
        rules.check_replacement(deployment or {}, config.variants, serverless)
        self.scaling.check_update(endpoint.name, config.instance_types)
        plan = _plan(deployment or {}, config.instances(counts))
        alarms = Alarms(self.aws, plan.alarms)
        alarms.check()
        with endpoint.lock:
            endpoint.check_in_service()
            fleet = self._fleet(endpoint.name, config)
            fleet.retain(weights, counts)
            endpoint.deployment_config = deployment
            endpoint.update(fleet, plan, alarms.reason)
        _in_background(f"deploy-{endpoint.name}", endpoint.deploy)
        return {"EndpointArn": endpoint.arn}

    def update_weights(self, request: Document) -> Document:
        """UpdateEndpointWeightsAndCapacities: traffic follows the new weights at once."""
        endpoint = self._endpoints.get(request["EndpointName"])
        with endpoint.lock:
            endpoint.check_in_service()
            asked = request["DesiredWeightsAndCapacities"]
            changes = [(endpoint.variant(change["VariantName"]), change) for change in asked]
            for variant, change in changes:
                variant.check_capacity(change)
            endpoint.turn("Updating")
            for variant, change in changes:
                variant.change_capacity(change)
        _in_background(f"weights-{endpoint.name}", endpoint.back_in_service)
        return {"EndpointArn": endpoint.arn}

    def delete(self, request: Document) -> Document:
        """DeleteEndpoint: Deleting until its processes have ended, then unknown."""
        endpoint = self._endpoints.get(request["EndpointName"])
        with endpoint.lock:
            if endpoint.status == "Deleting":
                return {}
            endpoint.turn("Deleting")
            endpoint.cancelled.set()
            self.scaling.keep(endpoint.name, ())
        _in_background(f"delete-{endpoint.name}", lambda: self._delete(endpoint))
        return {}

    @contextlib.contextmanager
    def routed(self, name: str, target: str | None) -> Iterator[Variant]:
        """Give the variant a request goes to, which is not stopped while the request is under way.

        Raises ValidationError when the endpoint or the target variant is not there, not serving, or answers
        asynchronously.
        """
        if self._serving(name).asynchronous is not None:
            raise AwsError("ValidationError", f"Endpoint {name} is asynchronous: invoke it with InvokeEndpointAsync.")
        with self._routed(name, target) as variant:
            yield variant

    def accept(self, name: str, asked: AsyncInput) -> AsyncRequest:
        """Put a request into the backlog of an asynchronous endpoint; raises ValidationError if it is none."""
        endpoint = self._serving(name)
        if endpoint.asynchronous is None:
            message = f"Endpoint {name} is not asynchronous: its configuration has no AsyncInferenceConfig."
            raise AwsError("ValidationError", message)
        request = endpoint.asynchronous.accept(name, asked)
        if endpoint.backlog is None or not endpoint.backlog.put(request):
            raise self._not_found(name)
        return request

    def _serving(self, name: str) -> Endpoint:
        """An endpoint that has served; raises ValidationError."""
        endpoint = self._endpoints.find(name)
        if endpoint is None or endpoint.status == "Deleting" or endpoint.fleet is None:
            raise self._not_found(name)
        return endpoint

    def _not_found(self, name: str) -> AwsError:
        return AwsError("ValidationError", f"Endpoint {name} of account {self.aws.account} not found.")

    @contextlib.contextmanager
    def _routed(self, name: str, target: str | None) -> Iterator[Variant]:
        endpoint = self._serving(name)
        with endpoint.lock:
            found = endpoint.route(target)
            if found is None:
                raise AwsError("ValidationError", f"Could not find variant {target} of endpoint {name}.")
            fleet, variant = found
            fleet.enter()
        try:
            yield variant
        finally:
            fleet.leave()

    def close(self) -> None:
        """End every serving process."""
        for endpoint in self._endpoints.all():
            endpoint.cancelled.set()
        fleets = [fleet for endpoint in self._endpoints.all() for fleet in (endpoint.fleet, endpoint.pending) if fleet]
        with ThreadPoolExecutor(max_workers=max(1, len(fleets))) as pool:
            list(pool.map(lambda fleet: fleet.end_processes(CLOSE_GRACE_SECONDS), fleets))

    def _fleet(self, name: str, config: EndpointConfig) -> Fleet:
        models = self.sagemaker.area(Models).models
        found = {variant["ModelName"]: models.get(variant["ModelName"]) for variant in config.variants}
        return Fleet(self.aws, name, config, found, self._captures)

    def _scaled(self, name: str, variant_name: str) -> Scaled | None:
        """A variant that serves, for automatic scaling; None if there is none of these names."""
        endpoint = self._endpoints.find(name)
        if endpoint is None or endpoint.status == "Deleting":
            return None
        with endpoint.lock:
            if endpoint.fleet is None or endpoint.fleet.variant(variant_name) is None:
                return None
            return Scaled(name, variant_name, endpoint.config.instance_types.get(variant_name))

    def _backlog(self, endpoint: Endpoint) -> Backlog:
        def limit() -> int:
            config = endpoint.asynchronous
            return max(1, endpoint.instances) * (config.at_once if config is not None else 1)

        def changed(size: int, oldest: float) -> None:
            self._asynchronous.report_backlog(endpoint.name, size, oldest, endpoint.instances)

        return Backlog(self._asynchronous.answer, limit, changed)

    def _delete(self, endpoint: Endpoint) -> None:
        """End an endpoint's processes, write the failures of what it has accepted and not answered, and forget it."""
        for request in endpoint.backlog.close() if endpoint.backlog is not None else ():
            self._asynchronous.fail(request, DeletedError())
        for fleet in (endpoint.pending, endpoint.fleet):
            if fleet is not None:
                fleet.stop()
        if endpoint.backlog is not None:
            endpoint.backlog.drain(LAST_FAILURES_SECONDS)
        self._endpoints.remove(endpoint.name)
        self.sagemaker.area(Tags).forget(endpoint.arn)


def _plan(deployment: Document, instances: int) -> Plan:
    """The plan of a DeploymentConfig; raises ValidationException for one that contradicts itself or the instances."""
    rules.check_deployment(deployment, instances)
    plan = Plan.of(deployment, instances)
    plan.check()
    return plan


def _in_background(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()
