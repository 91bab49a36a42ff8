"""Models and endpoint configurations: documents that say what an endpoint or a transform job will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from local_aws.aws_errors import already_existing, could_not_find, validation_error
from local_aws.sagemaker.core.area import Action, Area, Document, Neighbours
from local_aws.sagemaker.core.container_files import steering_variables
from local_aws.sagemaker.core.model_artifacts import ModelArtifact
from local_aws.sagemaker.core.resource_table import ResourceTable, now
from local_aws.sagemaker.core.tags import Tags, check_tags
from local_aws.sagemaker.hosting import rules
from local_aws.sagemaker.registry.api import ModelRegistry
from local_aws.sagemaker.training.rules import refuse

CONFIG_FIELDS = (
    "ProductionVariants",
    "KmsKeyId",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
    "MetricsConfig",
)


@dataclass(frozen=True)
class Model:
    """A model: `containers` are what runs, with every model package replaced by what it holds."""

    name: str
    arn: str
    document: Document
    containers: tuple[Document, ...]
    creation_time: datetime = field(default_factory=now)
    status: str = ""

    @property
    def last_modified_time(self) -> datetime:
        """A model does not change."""
        return self.creation_time

    @property
    def is_networked(self) -> bool:
        """Whether its containers may reach AWS."""
        return not self.document.get("EnableNetworkIsolation", False)


@dataclass(frozen=True)
class EndpointConfig:
    """An endpoint configuration, which does not change."""

    name: str
    arn: str
    document: Document
    creation_time: datetime = field(default_factory=now)
    status: str = ""

    @property
    def last_modified_time(self) -> datetime:
        """An endpoint configuration does not change."""
        return self.creation_time

    @property
    def variants(self) -> list[Document]:
        """The production variants."""
        variants: list[Document] = self.document["ProductionVariants"]
        return variants

    @property
    def instances(self) -> int:
        """How many instances the variants ask for."""
        return sum(variant.get("InitialInstanceCount", 1) for variant in self.variants)


class Hosting(Area):
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
            "DescribeModel": lambda request: _describe_model(self.models.get(request["ModelName"])),
            "ListModels": self.list_models,
            "DeleteModel": self.delete_model,
            "CreateEndpointConfig": self.create_config,
            "DescribeEndpointConfig": lambda request: _describe_config(self.configs.get(request["EndpointConfigName"])),
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
        return self.models.page(
            request,
            "Models",
            lambda model: {"ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.creation_time},
            sort_order="Descending",
        )

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
            if "ServerlessConfig" in variant and "VpcConfig" in model.document:
                raise validation_error(f"Model {model.name} has a VpcConfig: a serverless endpoint can't have one.")
            variant.setdefault("InitialVariantWeight", 1.0)
        self.configs.add(EndpointConfig(name, arn, {key: request[key] for key in CONFIG_FIELDS if key in request}))
        self.sagemaker.area(Tags).register(arn, request.get("Tags", []))
        return {"EndpointConfigArn": arn}

    def list_configs(self, request: Document) -> Document:
        """ListEndpointConfigs."""
        return self.configs.page(
            request,
            "EndpointConfigs",
            lambda config: {
                "EndpointConfigName": config.name,
                "EndpointConfigArn": config.arn,
                "CreationTime": config.creation_time,
            },
            sort_order="Descending",
        )

    def delete_config(self, request: Document) -> Document:
        """DeleteEndpointConfig; an endpoint that uses it keeps running."""
        config = self.configs.remove(request["EndpointConfigName"])
        self.sagemaker.area(Tags).forget(config.arn)
        return {}

    def _runnable(self, container: Document, role: str | None) -> Document:
        """Return the container with what its model package holds, after checking its image and model data."""
        resolved = self._from_package(container) if "ModelPackageName" in container else container
        if "Image" not in resolved:
            raise validation_error(f"Model package {container['ModelPackageName']} names no Image to run.")
        self.aws.server.images.command(resolved["Image"], "serve")
        refuse(steering_variables(resolved.get("Environment", {}), "Environment of the container"))
        artifact = ModelArtifact.of(resolved)
        if artifact is not None:
            artifact.check(self.aws, role)
        return resolved

    def _from_package(self, container: Document) -> Document:
        package = self.sagemaker.area(ModelRegistry).get(container["ModelPackageName"])
        specification = _specification(package.document, container.get("InferenceSpecificationName"))
        if specification is None:
            raise validation_error(f"Model package {package.arn} has no such inference specification.")
        if package.document.get("ModelApprovalStatus") == "Rejected":
            raise validation_error(f"Model package {package.arn} was rejected: it can't be deployed.")
        packaged: Document = dict(specification["Containers"][0])
        environment = {**packaged.get("Environment", {}), **container.get("Environment", {})}
        return {**packaged, "Environment": environment}


def _specification(package: Mapping[str, Any], name: str | None) -> Document | None:
    if name is None:
        return package.get("InferenceSpecification")
    additional = package.get("AdditionalInferenceSpecifications") or ()
    return next((specification for specification in additional if specification["Name"] == name), None)


def _describe_model(model: Model) -> Document:
    return {**model.document, "ModelName": model.name, "ModelArn": model.arn, "CreationTime": model.creation_time}


def _describe_config(config: EndpointConfig) -> Document:
    return {
        "EnableNetworkIsolation": False,
        **config.document,
        "EndpointConfigName": config.name,
        "EndpointConfigArn": config.arn,
        "CreationTime": config.creation_time,
    }
