"""Publish a version: one ``.rec`` per channel composed on the server, and ``dataset.json`` last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.plan import VersionPlan
from include.datasets.shard import ShardResult
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def publish_version(s3: S3Client, plan: VersionPlan, results: list[ShardResult]) -> DatasetVersion:
    """Compose the packed shards into a version; publishing twice returns the same one."""
    raise NotImplementedError
