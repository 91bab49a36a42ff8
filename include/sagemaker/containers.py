"""Containers that SageMaker runs, and the machines that run them.

The addresses of AWS's images in every region are in the table that `make image-uris` writes from the `sagemaker` SDK.
The SDK itself is not installed beside Airflow; a test in the SDK's environment holds the two equal for all regions.

Sources: API reference of CreateModel (ContainerDefinition) and CreateModelPackage (InferenceSpecification); botocore's
own model of the API (which machines there are, for what); EC2's pages of the GPU families; developer guide, "Instance
Storage Volumes" of Nitro instances.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict

from include.problems import did_you_mean, nearest

ALGORITHM = "image-classification"
RULES = "sagemaker-debugger-rules"
Use = Literal["training", "inference"]
GPU_MACHINES = ("ml.g", "ml.p")
"""How the types of machines with GPUs begin, as the SDK distinguishes them from others."""
TABLE = Path(__file__).with_name("image_uris.json")
REGISTRY = re.compile(rf"(?P<account>\d{{12}})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[^/]+/{ALGORITHM}(?:[:@].*)?")
METRIC_DEFINITIONS = {
    f"{channel}:accuracy{suffix}": rf"Epoch\[[0-9]+\] {logged}-accuracy=([0-9.]+)"
    for channel, logged in (("train", "Train"), ("validation", "Validation"))
    for suffix in ("", ":epoch")
}
"""The metrics of the algorithm's log lines, as a job with another image than AWS's has to define them."""

ANY_IMAGE = "application/x-image"
IMAGE_TYPES = ("image/jpeg", "image/png", ANY_IMAGE)
RESPONSE_TYPES = ("application/json", "application/jsonlines")
"""Content types of a list of probabilities."""

Purpose = Literal["TrainingInstanceType", "ProductionVariantInstanceType", "TransformInstanceType"]
DEFAULT_TRANSFORM_TYPE = "ml.m5.large"
GPUS = {
    "ml.p2.8xlarge": 8,
    "ml.p2.16xlarge": 16,
    "ml.p3.8xlarge": 4,
    "ml.p3.16xlarge": 8,
    "ml.p3dn.24xlarge": 8,
    "ml.g4dn.12xlarge": 4,
    "ml.g5.12xlarge": 4,
    "ml.g5.24xlarge": 4,
    "ml.g5.48xlarge": 8,
}
"""GPUs of the machines with more than one."""
OWN_DISK_GB = {
    "ml.g4dn.xlarge": 125,
    "ml.g4dn.2xlarge": 225,
    "ml.g4dn.4xlarge": 225,
    "ml.g4dn.8xlarge": 900,
    "ml.g4dn.12xlarge": 900,
    "ml.g4dn.16xlarge": 900,
    "ml.g5.xlarge": 250,
    "ml.g5.2xlarge": 450,
    "ml.g5.4xlarge": 600,
    "ml.g5.8xlarge": 900,
    "ml.g5.16xlarge": 1900,
    "ml.g5.12xlarge": 3800,
    "ml.g5.24xlarge": 3800,
    "ml.g5.48xlarge": 7600,
    "ml.p3dn.24xlarge": 1800,
}
"""Machines that use the disk they have, and refuse a volume larger than it."""
LOCAL_STORAGE_FAMILIES = tuple(sorted({f"{machine.rpartition('.')[0]}." for machine in OWN_DISK_GB}))
"""Families of these machines: hardware encrypts their disks, and AWS refuses a volume key for them."""


class ImageSettings(Protocol):
    """What an installation's settings say about the algorithm's image."""

    @property
    def region(self) -> str:
        """The region of jobs and endpoints."""

    @property
    def image_uri(self) -> str:
        """An image of their own; empty: AWS's in the region."""


class UnknownImageError(ValueError):
    """AWS does not offer an image, in this region or of this version."""


class UnknownRegionError(UnknownImageError):
    """AWS does not offer the algorithm in a region of this name."""


def image_uri(settings: ImageSettings) -> str:
    """The algorithm's container image: the settings' own, or AWS's in the region.

    Raises UnknownRegionError for a region without the algorithm.
    """
    return settings.image_uri or algorithm_image(settings.region)


def algorithm_image(region: str) -> str:
    """The image URI of the built-in algorithm in `region`; needs no network."""
    image = images()[ALGORITHM]
    registries = image["registries"]
    if region not in registries:
        meant = did_you_mean(nearest(region, registries)) or "."
        raise UnknownRegionError(
            f"AWS offers no image classification in region {region!r}{meant} Correct `region` in the Airflow Variable "
            "`image_classification`, or name a container of your own there as `image_uri`."
        )
    return f"{registries[region]}/{ALGORITHM}:{image['tag']}"


def framework_image(framework: str, use: Use, region: str, *, version: str = "", machine: str = "") -> str:
    """The URI of AWS's image that trains with a framework, or answers, on a machine; without a machine, on a CPU.

    Without a version it is the newest one. Of a version that has no image that answers, the newest before it answers:
    AWS publishes fewer of them. Raises UnknownImageError if AWS has none.
    """
    repository = f"{framework}-{use}"
    image = images()[repository]
    if region not in image["registries"]:
        meant = did_you_mean(nearest(region, image["registries"])) or "."
        raise UnknownImageError(f"AWS offers no {repository} image in region {region!r}{meant}")
    found = _framework_version(framework, use, version)
    processor = "gpu" if machine.startswith(GPU_MACHINES) else "cpu"
    return f"{image['registries'][region]}/{repository}:{found}-{processor}-{image['versions'][found]}"


def framework_versions(framework: str, use: Use = "training") -> list[str]:
    """The versions of a framework of which AWS has an image, the newest last."""
    return sorted(images()[f"{framework}-{use}"]["versions"], key=_version_numbers)


def _framework_version(framework: str, use: Use, wanted: str) -> str:
    """The version that is meant: `2.6` is the newest of `2.6.0`, `2.6.1`."""
    known = framework_versions(framework, use)
    if not wanted:
        return known[-1]
    meant = [version for version in known if f"{version}.".startswith(f"{wanted}.")]
    if use == "inference" and not meant:
        trains = _version_numbers(_framework_version(framework, "training", wanted))
        meant = [version for version in known if _version_numbers(version) < trains]
    if not meant:
        raise UnknownImageError(f"AWS has no {framework}-{use} image of version {wanted}: it has {', '.join(known)}.")
    return meant[-1]


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def is_aws_image(image: str) -> bool:
    """Whether the image is AWS's own, of which SageMaker knows the metrics and takes no definitions."""
    found = REGISTRY.fullmatch(image)
    return found is not None and registry_accounts().get(found["region"]) == found["account"]


def rule_evaluator_image(region: str) -> str:
    """The image that evaluates the rules of SageMaker Debugger in `region`; raises UnknownRegionError."""
    image = images()[RULES]
    if region not in image["registries"]:
        raise UnknownRegionError(f"SageMaker Debugger evaluates no rules in region {region!r}.")
    return f"{image['registries'][region]}/{RULES}:{image['tag']}"


@cache
def registry_accounts() -> dict[str, str]:
    """The AWS account that holds the algorithm's image, by region."""
    return {region: host.partition(".")[0] for region, host in images()[ALGORITHM]["registries"].items()}


@cache
def images() -> dict[str, Any]:
    """Each image of the table: its tag or its versions, and the host of the registry that holds it, by region."""
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))["images"]
    return table


class ModelContainer(BaseModel):
    """What answers with a model: a container image and an artifact; `content_types` are those of what it takes."""

    model_config = ConfigDict(frozen=True)

    image: str
    artifact: str
    environment: dict[str, str] = {}
    content_types: tuple[str, ...] = IMAGE_TYPES

    @classmethod
    def of_definition(cls, container: Mapping[str, Any], content_types: tuple[str, ...] = IMAGE_TYPES) -> Self:
        """The container of a described model, or of a registered version."""
        return cls(
            image=container["Image"],
            artifact=container["ModelDataUrl"],
            environment=container.get("Environment") or {},
            content_types=content_types,
        )

    @classmethod
    def of_specification(cls, specification: Mapping[str, Any]) -> Self:
        """The container of a registered version's `InferenceSpecification`."""
        types = tuple(specification.get("SupportedContentTypes") or IMAGE_TYPES)
        return cls.of_definition(specification["Containers"][0], types)

    @property
    def definition(self) -> dict[str, Any]:
        """`PrimaryContainer` of CreateModel."""
        environment = {"Environment": self.environment} if self.environment else {}
        return {"Image": self.image, "ModelDataUrl": self.artifact, **environment}

    @property
    def specification(self) -> dict[str, Any]:
        """`InferenceSpecification` of CreateModelPackage."""
        return {
            "Containers": [self.definition],
            "SupportedContentTypes": [*self.content_types],
            "SupportedResponseMIMETypes": [*RESPONSE_TYPES],
        }

    def transform_type(self, encoding: str) -> str:
        """The one content type of a batch transform; `encoding` is that of the packed images, `.jpg` or `.png`."""
        return ANY_IMAGE if ANY_IMAGE in self.content_types else packed_type(encoding)


def packed_type(encoding: str) -> str:
    """The content type of packed images, by their encoding, `.jpg` or `.png`."""
    return "image/png" if encoding == ".png" else "image/jpeg"


@cache
def instance_types(purpose: Purpose) -> tuple[str, ...]:
    """The instance types that training jobs, endpoints or transform jobs may name."""
    from botocore.session import get_session  # noqa: PLC0415 - DAG files load this module

    model = get_session().get_service_model("sagemaker")
    return tuple(model.shape_for(purpose).metadata["enum"])


def transform_instance_type(endpoint_type: str) -> str:
    """The endpoint's own type if transform jobs have it, so that both predict alike; else a small CPU machine."""
    return endpoint_type if endpoint_type in instance_types("TransformInstanceType") else DEFAULT_TRANSFORM_TYPE
