"""What has arrived under a source since a version was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


@dataclass(frozen=True, slots=True)
class NewImages:
    """Images that a version's manifest does not know."""

    count: int
    bytes: int
    new_labels: tuple[str, ...]
    """Class folders the version has no label for: they need a full retrain."""


def find_new_images(s3: S3Client, conf: DatasetConf, version: DatasetVersion) -> NewImages:
    """Compare the source with a version's manifest by key and ETag."""
    raise NotImplementedError
