"""The network and the key of everything that SageMaker runs: what jobs and models are given alike.

Sources: API reference of VpcConfig, CreateModel and ResourceConfig (`VolumeKmsKeyId`).
"""

from __future__ import annotations

from typing import Any, Protocol

from include.sagemaker.instance_types import LOCAL_STORAGE_FAMILIES


class NetworkSettings(Protocol):
    """What an installation's settings say about both."""

    @property
    def subnets(self) -> tuple[str, ...]:
        """Subnets of one VPC; empty: no VPC."""

    @property
    def security_group_ids(self) -> tuple[str, ...]:
        """Its security groups."""

    @property
    def network_isolation(self) -> bool:
        """Whether containers reach no network at all."""

    @property
    def kms_key_id(self) -> str:
        """The key that encrypts volumes and output; empty: AWS's own."""


def network(settings: NetworkSettings) -> dict[str, Any]:
    """`EnableNetworkIsolation` and `VpcConfig` of jobs and models; sorted, as the order means nothing to AWS."""
    isolation = {"EnableNetworkIsolation": settings.network_isolation}
    if not settings.subnets:
        return isolation
    groups = sorted(set(settings.security_group_ids))
    return {**isolation, "VpcConfig": {"Subnets": sorted(set(settings.subnets)), "SecurityGroupIds": groups}}


def encryption(settings: NetworkSettings) -> dict[str, str]:
    """`KmsKeyId` of what is written to S3 and of an endpoint's volumes; empty if no key is set."""
    return {"KmsKeyId": settings.kms_key_id} if settings.kms_key_id else {}


def volume_encryption(settings: NetworkSettings, instance_type: str) -> dict[str, str]:
    """`VolumeKmsKeyId` of a job's volume; empty if no key is set, or if the machine encrypts its own disk."""
    if not settings.kms_key_id or instance_type.startswith(LOCAL_STORAGE_FAMILIES):
        return {}
    return {"VolumeKmsKeyId": settings.kms_key_id}
