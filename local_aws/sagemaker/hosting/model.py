"""Models and endpoint configurations: documents that say what an endpoint or a transform job will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.resource_table import now

ASYNC_PAYLOAD_MB = "1024"


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

    def summary(self) -> Document:
        """The model as ListModels gives it."""
        return {"ModelName": self.name, "ModelArn": self.arn, "CreationTime": self.creation_time}

    def describe(self) -> Document:
        """The model as DescribeModel gives it."""
        return {**self.document, **self.summary()}


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
    def instance_types(self) -> dict[str, str]:
        """The machine of every variant that has instances, by the names of the variants."""
        return {
            variant["VariantName"]: variant["InstanceType"] for variant in self.variants if "InstanceType" in variant
        }

    @property
    def data_capture(self) -> Document | None:
        """The DataCaptureConfig."""
        return self.document.get("DataCaptureConfig")

    @property
    def environment(self) -> dict[str, str]:
        """What its containers receive: how large a payload may be, if that is more than InvokeEndpoint allows."""
        return {"SAGEMAKER_MAX_PAYLOAD_IN_MB": ASYNC_PAYLOAD_MB} if "AsyncInferenceConfig" in self.document else {}

    def instances(self, retained: Mapping[str, int]) -> int:
        """How many instances the variants ask for, or retain from variants of the same names that run."""
        wanted = {variant["VariantName"]: variant.get("InitialInstanceCount", 1) for variant in self.variants}
        return sum(retained.get(name, count) for name, count in wanted.items())

    def summary(self) -> Document:
        """The configuration as ListEndpointConfigs gives it."""
        return {
            "EndpointConfigName": self.name,
            "EndpointConfigArn": self.arn,
            "CreationTime": self.creation_time,
        }

    def describe(self) -> Document:
        """The configuration as DescribeEndpointConfig gives it."""
        return {"EnableNetworkIsolation": False, **self.document, **self.summary()}
