"""The addresses of a run conf behind which images lie packed: archives and finished record files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.unpacking.byte_stream import Remote
from include.datasets.unpacking.stored_source import StoredSource
from include.datasets.unpacking.web_source import WebSource
from include.run_conf.dataset import source_kind

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


def packed_addresses(conf: DatasetConf) -> list[str]:
    """Name the addresses of a run conf that have to be unpacked; none where its source is a prefix."""
    return [address for address in conf.source if source_kind(address) != "prefix"]


def open_remote(s3: S3Client, address: str) -> Remote:
    """Open an ``s3://`` or ``http(s)://`` address. Raises DatasetError for one that may not be read."""
    return StoredSource(s3, address) if address.startswith("s3://") else WebSource(address)
