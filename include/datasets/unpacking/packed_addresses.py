"""The addresses of a run conf behind which images lie packed: archives and finished record files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.datasets.unpacked import UnpackedLayout, whole_address
from include.datasets.unpacking.byte_stream import Remote
from include.datasets.unpacking.source_policy import DEFAULT_POLICY, SourcePolicy
from include.datasets.unpacking.stored_source import StoredSource
from include.datasets.unpacking.web_source import WebSource
from include.run_conf.dataset import source_kind
from include.web_addresses import secrets_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


def packed_addresses(conf: DatasetConf) -> list[str]:
    """Name the addresses of a run conf that have to be unpacked; none where its source is a prefix."""
    return [address for address in conf.source if source_kind(address) != "prefix"]


def open_remote(s3: S3Client, place: UnpackedLayout, policy: SourcePolicy = DEFAULT_POLICY) -> Remote:
    """Open the address that is unpacked to ``place``. Raises DatasetError for one that may not be read."""
    if place.address.startswith("s3://"):
        return StoredSource(s3, place.address)
    address = whole_address(s3, place)
    for secret in secrets_of(address):
        policy.hide(secret)
    return WebSource(address, policy.networks)
