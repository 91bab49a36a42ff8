"""What the deployment names besides buckets and role: the key that encrypts, and the network of the jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from include.preflight.findings import Findings
from include.problems import Problem

if TYPE_CHECKING:
    from include.settings import Settings

KEY = "settings.kms_key_id"


def key_findings(kms: Any, settings: Settings) -> Findings:
    """A key that does not exist, is not enabled, or encrypts nothing. Raises botocore's errors of other kinds."""
    return Findings.of(_key_problems(kms, settings.kms_key_id))


def network_findings(ec2: Any, settings: Settings) -> Findings:
    """Subnets and security groups that do not exist or belong to several networks. Raises botocore's other errors."""
    return Findings.of(_network_problems(ec2, settings))


def _key_problems(kms: Any, key: str) -> Iterator[Problem]:
    try:
        described = kms.describe_key(KeyId=key)["KeyMetadata"]
    except (kms.exceptions.NotFoundException, kms.exceptions.InvalidArnException):
        yield Problem(field=KEY, value=key, remedy="does not exist in this region: correct it, or leave it empty")
        return
    state = described.get("KeyState", "Enabled")
    if state != "Enabled":
        yield Problem(field=KEY, value=key, remedy=f"is {state}: enable it, or name another key")
    elif described.get("KeyUsage", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT":
        remedy = f"is for {described['KeyUsage']}: name a key that encrypts and decrypts"
        yield Problem(field=KEY, value=key, remedy=remedy)


def _network_problems(ec2: Any, settings: Settings) -> Iterator[Problem]:
    networks: set[str] = set()
    for name in settings.subnets:
        try:
            found = ec2.describe_subnets(SubnetIds=[name])["Subnets"]
        except ClientError as error:
            yield _absent("settings.subnets", name, error, "InvalidSubnetID")
            continue
        networks.update(subnet["VpcId"] for subnet in found)
        if all(subnet.get("AvailableIpAddressCount") == 0 for subnet in found):
            yield Problem(field="settings.subnets", value=name, remedy="has no free address: name another subnet")
    for name in settings.security_group_ids:
        try:
            groups = ec2.describe_security_groups(GroupIds=[name])["SecurityGroups"]
        except ClientError as error:
            yield _absent("settings.security_group_ids", name, error, "InvalidGroup")
            continue
        networks.update(group["VpcId"] for group in groups if "VpcId" in group)
    if len(networks) > 1:
        remedy = "subnets and security groups must belong to one VPC: correct them"
        yield Problem(field="settings.subnets", value=", ".join(sorted(networks)), remedy=remedy)


def _absent(field: str, name: str, error: ClientError, code: str) -> Problem:
    """The problem of a name that EC2 does not know; raises the error again where it says something else."""
    if not error.response["Error"]["Code"].startswith(code):
        raise error
    return Problem(field=field, value=name, remedy="does not exist in this region: correct it")
