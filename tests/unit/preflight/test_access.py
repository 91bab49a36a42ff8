from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import Stubber
from moto import mock_aws

from include.preflight import Findings
from include.preflight.access import key_findings, network_findings, role_findings
from tests.support.documents import settings
from tests.unit.preflight.services import client

ROLE = "arn:aws:iam::123456789012:role/sagemaker-execution"
AIRFLOW = "arn:aws:sts::123456789012:assumed-role/airflow/task"
TRUSTED = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}


class Iam:
    """IAM with one role, and the decisions of its simulator."""

    def __init__(self, *, trust: dict[str, Any] | None = None, denied: tuple[str, ...] = (), arn: str = ROLE) -> None:
        self.exceptions = client("iam").exceptions
        self.trust, self.denied, self.arn = trust or TRUSTED, denied, arn

    def get_role(self, RoleName: str) -> dict[str, Any]:
        if RoleName == "airflow":
            return {"Role": {"Arn": "arn:aws:iam::123456789012:role/airflow"}}
        if RoleName not in self.arn:
            raise self.exceptions.NoSuchEntityException({"Error": {"Code": "NoSuchEntity"}}, "GetRole")
        return {"Role": {"Arn": self.arn, "AssumeRolePolicyDocument": {"Statement": [self.trust]}}}

    def simulate_principal_policy(self, **asked: Any) -> dict[str, Any]:
        decisions = [
            {"EvalActionName": name, "EvalDecision": "implicitDeny" if name in self.denied else "allowed"}
            for name in asked["ActionNames"]
        ]
        return {"EvaluationResults": decisions}


def sts(account: str = "123456789012") -> Any:
    stubbed = client("sts")
    stub = Stubber(stubbed)
    stub.add_response("get_caller_identity", {"Account": account, "Arn": AIRFLOW, "UserId": "A"})
    stub.activate()
    return stubbed


def found(s3: Any, iam: Any, caller: Any = None) -> Findings:
    return role_findings(iam, caller or sts(), s3, settings())


def test_a_role_that_jobs_can_take_on_passes(s3: Any) -> None:
    assert found(s3, Iam()) == Findings()


@pytest.mark.parametrize(
    ("iam", "remedy"),
    [
        (Iam(arn="arn:aws:iam::123456789012:role/other"), "does not exist: create it"),
        (Iam(arn="arn:aws:iam::123456789012:role/team/sagemaker-execution"), "write its path too"),
        (
            Iam(trust={**TRUSTED, "Principal": {"Service": "ec2.amazonaws.com"}}),
            "may not be used by SageMaker: allow sts:AssumeRole to sagemaker.amazonaws.com in its trust policy",
        ),
        (Iam(denied=("s3:ListBucket",)), "may not s3:ListBucket on images-of-acme: allow it in the role's policy"),
        (Iam(denied=("s3:PutObject",)), "may not s3:PutObject on models-of-acme"),
        (
            Iam(denied=("iam:PassRole",)),
            "may not be passed to SageMaker by arn:aws:iam::123456789012:role/airflow: allow it iam:PassRole",
        ),
    ],
)
def test_a_role_that_jobs_cannot_use_is_told(s3: Any, iam: Any, remedy: str) -> None:
    (problem,) = found(s3, iam).problems
    assert (problem.field, problem.value) == ("settings.execution_role_arn", ROLE)
    assert remedy in problem.remedy


def test_a_role_that_may_not_read_alarms_cannot_undo_a_rollout(s3: Any) -> None:
    blind = Iam(denied=("cloudwatch:DescribeAlarms",))
    assert found(s3, blind) == Findings()
    (problem,) = role_findings(blind, sts(), s3, settings(), alarms=True).problems  # type: ignore[arg-type]
    assert problem.remedy == (
        "may not cloudwatch:DescribeAlarms on image-classification-*, and so cannot roll back: allow it in the "
        "role's policy"
    )


def test_what_a_bucket_policy_may_grant_is_a_note(s3: Any) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "s3:*", "Resource": "*"}
    s3.put_bucket_policy(Bucket="images-of-acme", Policy=json.dumps({"Statement": [statement]}))
    told = found(s3, Iam(denied=("s3:GetObject",)))
    assert [problem.remedy for problem in told.problems] == [
        "may not s3:GetObject on models-of-acme: allow it in the role's policy"
    ]
    assert told.notes == (
        "role's permissions: its own policies do not allow s3:GetObject on images-of-acme, the bucket's policy may",
    )


def test_a_role_of_another_account_is_told(s3: Any) -> None:
    (problem,) = found(s3, Iam(), sts("999999999999")).problems
    assert "is of account 123456789012, and the connection's is 999999999999" in problem.remedy


def test_what_may_not_be_looked_at_is_a_note(s3: Any) -> None:
    denied = client("iam")
    stub = Stubber(denied)
    for method in ("simulate_principal_policy", "get_role", "get_role"):
        stub.add_client_error(method, service_error_code="AccessDenied", http_status_code=403)
    stub.activate()
    told = found(s3, denied)
    assert told.problems == ()
    assert told.notes == (
        "role's permissions: SimulatePrincipalPolicy is not permitted",
        "role: GetRole is not permitted",
        "iam:PassRole: GetRole is not permitted",
    )


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
    installation = settings(subnets=subnets, security_group_ids=groups)
    return [str(problem) for problem in network_findings(client("ec2"), installation).problems]


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
