from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from include.preflight.surroundings import key_findings, network_findings
from tests.support.documents import settings
from tests.unit.preflight.services import client


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    with mock_aws():
        yield


def key_problems(key: str) -> list[str]:
    return [str(problem) for problem in key_findings(client("kms"), settings(kms_key_id=key)).problems]


def test_a_key_that_encrypts_passes_and_others_are_told() -> None:
    kms = client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    assert key_problems(key) == []

    kms.disable_key(KeyId=key)
    assert key_problems(key) == [f"settings.kms_key_id = {key}: is Disabled: enable it, or name another key"]

    signs = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    assert "is for SIGN_VERIFY" in key_problems(signs)[0]
    assert "does not exist in this region" in key_problems("00000000-0000-0000-0000-000000000000")[0]


def network_problems(subnets: list[str], groups: list[str]) -> list[str]:
    deployment = settings(subnets=subnets, security_group_ids=groups)
    return [str(problem) for problem in network_findings(client("ec2"), deployment).problems]


def test_a_network_that_is_there_passes_and_others_are_told() -> None:
    ec2 = client("ec2")
    vpcs = [ec2.create_vpc(CidrBlock=f"10.{n}.0.0/16")["Vpc"]["VpcId"] for n in (1, 2)]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{n}.1.0/24")["Subnet"]["SubnetId"]
        for n, vpc in enumerate(vpcs, start=1)
    ]
    group = ec2.create_security_group(VpcId=vpcs[0], GroupName="jobs", Description="jobs")["GroupId"]

    assert network_problems(subnets[:1], [group]) == []
    assert "must belong to one VPC" in network_problems(subnets, [group])[0]
    assert network_problems(["subnet-00000000"], ["sg-00000000"]) == [
        "settings.subnets = subnet-00000000: does not exist in this region: correct it",
        "settings.security_group_ids = sg-00000000: does not exist in this region: correct it",
    ]
