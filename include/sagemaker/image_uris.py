"""The addresses of AWS's containers in every region: the table that `make image-uris` writes from the `sagemaker` SDK.

The SDK itself is not installed beside Airflow; a test in the SDK's environment holds the two equal for all regions.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

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
    found = _version(framework, use, version)
    processor = "gpu" if machine.startswith(GPU_MACHINES) else "cpu"
    return f"{image['registries'][region]}/{repository}:{found}-{processor}-{image['versions'][found]}"


def framework_versions(framework: str, use: Use = "training") -> list[str]:
    """The versions of a framework of which AWS has an image, the newest last."""
    return sorted(images()[f"{framework}-{use}"]["versions"], key=_numbers)


def _version(framework: str, use: Use, wanted: str) -> str:
    """The version that is meant: `2.6` is the newest of `2.6.0`, `2.6.1`."""
    known = framework_versions(framework, use)
    if not wanted:
        return known[-1]
    meant = [version for version in known if f"{version}.".startswith(f"{wanted}.")]
    if use == "inference" and not meant:
        trains = _numbers(_version(framework, "training", wanted))
        meant = [version for version in known if _numbers(version) < trains]
    if not meant:
        raise UnknownImageError(f"AWS has no {framework}-{use} image of version {wanted}: it has {', '.join(known)}.")
    return meant[-1]


def _numbers(version: str) -> tuple[int, ...]:
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
