"""The role that jobs take on: it exists, SageMaker may take it on, and it may read data and write models.

Sources: IAM API reference of GetRole and SimulatePrincipalPolicy; developer guide, "SageMaker AI Roles". A simulation
sees the role's own policies only; a bucket policy may grant what they do not, so it is read before anything is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.preflight.findings import Findings
from include.preflight.services import Question, reason
from include.problems import Problem

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

    from include.settings import Settings

FIELD = "settings.execution_role_arn"
SERVICE = "sagemaker.amazonaws.com"


def role_findings(iam: IAMClient, sts: STSClient, s3: S3Client, settings: Settings) -> Findings:
    """What is known to be wrong with the execution role; what the connection may not look at becomes a note."""
    arn = settings.execution_role_arn
    caller = sts.get_caller_identity()
    account, own = arn.split(":")[4], caller["Account"]
    if account != own:
        remedy = f"is of account {account}, and the connection's is {own}: jobs take on roles of their own account only"
        return Findings.of([Problem(field=FIELD, value=arn, remedy=remedy)])
    looks = (
        _noted("role's permissions", lambda: _permission_findings(iam, s3, settings)),
        _noted("role", lambda: Findings.of(_trust_problems(iam, arn))),
        _noted("iam:PassRole", lambda: _pass_role_findings(iam, caller["Arn"], arn)),
    )
    return Findings.joined(looks)


def _noted(subject: str, look: Question) -> Findings:
    try:
        return look()
    except (ClientError, BotoCoreError) as error:
        return Findings.note(f"{subject}: {reason(error)}")


def _trust_problems(iam: IAMClient, arn: str) -> Iterator[Problem]:
    try:
        role = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except iam.exceptions.NoSuchEntityException:
        yield Problem(field=FIELD, value=arn, remedy="does not exist: create it (infrastructure/stack.yaml does)")
        return
    if role["Arn"] != arn:
        yield Problem(field=FIELD, value=arn, remedy=f"the role of this name is {role['Arn']}: write its path too")
    if not any(_trusts(statement) for statement in _statements(role.get("AssumeRolePolicyDocument"))):
        remedy = f"may not be taken on by SageMaker: allow sts:AssumeRole to {SERVICE} in its trust policy"
        yield Problem(field=FIELD, value=arn, remedy=remedy)


def _trusts(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal", {})
    services = ["*"] if principal == "*" else [*_listed(principal.get("Service")), *_listed(principal.get("AWS"))]
    trusted = any(name == "*" or name.startswith("sagemaker") for name in services)
    actions = {action.lower() for action in _listed(statement.get("Action"))}
    return statement.get("Effect") == "Allow" and trusted and bool(actions & {"sts:assumerole", "sts:*", "*"})


def _permission_findings(iam: IAMClient, s3: S3Client, settings: Settings) -> Findings:
    asked = (
        (settings.data_bucket, "", ["s3:ListBucket"]),
        (settings.data_bucket, "/datasets/a", ["s3:GetObject"]),
        (settings.output_bucket, "/jobs/a", ["s3:PutObject", "s3:GetObject"]),
    )
    arn, found = settings.execution_role_arn, []
    for bucket, key, actions in asked:
        resource = f"arn:{arn.split(':')[1]}:s3:::{bucket}{key}"
        refused = _refused(iam, arn, actions, resource)
        if not refused:
            continue
        what = f"{', '.join(refused)} on {bucket}"
        if _may_be_granted_by_bucket(s3, bucket):
            found.append(
                Findings.note(f"role's permissions: its own policies do not allow {what}, the bucket's policy may")
            )
        else:
            remedy = f"may not {what}: allow it in the role's policy"
            found.append(Findings.of([Problem(field=FIELD, value=arn, remedy=remedy)]))
    return Findings.joined(found)


def _refused(iam: IAMClient, arn: str, actions: list[str], resource: str) -> list[str]:
    answer = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=actions, ResourceArns=[resource])
    return [
        result["EvalActionName"]
        for result in answer["EvaluationResults"]
        if result["EvalDecision"] != "allowed" and not result.get("MissingContextValues")
    ]


def _may_be_granted_by_bucket(s3: S3Client, bucket: str) -> bool:
    try:
        policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    except ClientError as error:
        return error.response["Error"]["Code"] != "NoSuchBucketPolicy"
    return any(statement.get("Effect") == "Allow" for statement in _statements(policy))


def _pass_role_findings(iam: IAMClient, caller: str, arn: str) -> Findings:
    source = _identity(iam, caller)
    if source is None:
        return Findings()
    answer = iam.simulate_principal_policy(
        PolicySourceArn=source,
        ActionNames=["iam:PassRole"],
        ResourceArns=[arn],
        ContextEntries=[
            {"ContextKeyName": "iam:PassedToService", "ContextKeyType": "string", "ContextKeyValues": [SERVICE]}
        ],
    )
    if all(result["EvalDecision"] == "allowed" for result in answer["EvaluationResults"]):
        return Findings()
    remedy = f"may not be handed to SageMaker by {source}: allow it iam:PassRole on this role"
    return Findings.of([Problem(field=FIELD, value=arn, remedy=remedy)])


def _identity(iam: IAMClient, caller: str) -> str | None:
    """The user or role whose policies decide; None for the account itself, which may do everything."""
    if ":assumed-role/" in caller:
        return iam.get_role(RoleName=caller.split("/")[1])["Role"]["Arn"]
    return caller if ":user/" in caller else None


def _statements(policy: Any) -> list[Mapping[str, Any]]:
    document = json.loads(policy) if isinstance(policy, str) else policy or {}
    statements = document.get("Statement", [])
    return [statements] if isinstance(statements, Mapping) else list(statements)


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
