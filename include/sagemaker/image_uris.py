"""The address of AWS's image-classification container in every region, from the table that sagemaker-core ships.

`sagemaker.core.image_uris.retrieve` gives the same and takes three seconds to import, in every task; a test holds the
two equal for all regions.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Protocol

from botocore.loaders import create_loader
from botocore.regions import EndpointResolver

from include.problems import did_you_mean, nearest

ALGORITHM = "image-classification"
VERSION = "1"
REGISTRY = re.compile(rf"(?P<account>\d{{12}})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[^/]+/{ALGORITHM}(?:[:@].*)?")
METRIC_DEFINITIONS = tuple(
    {"Name": f"{channel}:accuracy{suffix}", "Regex": rf"Epoch\[[0-9]+\] {logged}-accuracy=([0-9.]+)"}
    for channel, logged in (("train", "Train"), ("validation", "Validation"))
    for suffix in ("", ":epoch")
)
"""The metrics of the algorithm's log lines, as a job with another image than AWS's has to define them."""


class ImageSettings(Protocol):
    """What an installation's settings say of the algorithm's image."""

    @property
    def region(self) -> str:
        """The region of jobs and endpoints."""

    @property
    def image_uri(self) -> str:
        """An image of their own; empty: AWS's in the region."""


class UnknownRegionError(ValueError):
    """AWS does not offer the algorithm in a region of this name."""


def image_uri(settings: ImageSettings) -> str:
    """The algorithm's container image: the settings' own, or AWS's in the region.

    Raises UnknownRegionError for a region without the algorithm.
    """
    return settings.image_uri or algorithm_image(settings.region)


def algorithm_image(region: str) -> str:
    """The image URI of the built-in algorithm in `region`; needs no network."""
    accounts = registry_accounts()
    if region not in accounts:
        meant = did_you_mean(nearest(region, accounts)) or "."
        raise UnknownRegionError(
            f"AWS offers no image classification in region {region!r}{meant} Correct `region` in the Airflow Variable "
            "`image_classification`, or name a container of your own there as `image_uri`."
        )
    endpoint = endpoint_resolver().construct_endpoint("ecr", region)
    host = endpoint["hostname"] if endpoint else f"ecr.{region}.amazonaws.com"
    return f"{accounts[region]}.dkr.{host}/{ALGORITHM}:{VERSION}"


def is_aws_image(image: str) -> bool:
    """Whether the image is AWS's own, of which SageMaker knows the metrics and takes no definitions."""
    found = REGISTRY.fullmatch(image)
    return found is not None and registry_accounts().get(found["region"]) == found["account"]


@cache
def registry_accounts() -> dict[str, str]:
    """The AWS account that holds the image, by region."""
    table = distribution("sagemaker-core").locate_file(f"sagemaker/core/image_uri_config/{ALGORITHM}.json")
    document = json.loads(Path(str(table)).read_text(encoding="utf-8"))
    accounts: dict[str, str] = document["versions"][VERSION]["registries"]
    return accounts


@cache
def endpoint_resolver() -> EndpointResolver:
    """botocore's table of service hosts by region and partition."""
    return EndpointResolver(create_loader().load_data("endpoints"))
