"""What the jobs of a run may reach: the role that they take on, the key that encrypts, the network, the buckets.

The role exists, SageMaker may take it on, and it may read data and write models. Sources: IAM API reference of GetRole
and SimulatePrincipalPolicy; developer guide, "SageMaker AI Roles". A simulation sees the role's own policies only; a
bucket policy may grant what they do not, so it is read before anything is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.errors import LIST, explained
from include.deployment.traffic import ALARM_PREFIX
from include.preflight import Findings, Question, reason
from include.problems import Problem
from include.sagemaker.containers import registry_accounts

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

    from include.settings import Settings


FIELD = "settings.execution_role_arn"
SERVICE = "sagemaker.amazonaws.com"
KEY = "settings.kms_key_id"
BUCKETS = ("data_bucket", "output_bucket")


def role_findings(
    iam: IAMClient, sts: STSClient, s3: S3Client, settings: Settings, *, alarms: bool = False
) -> Findings:
    """What is known to be wrong with the execution role; what the connection may not read becomes a note.

    With `alarms` it has to read those that undo an update of the endpoint.
    """
    arn = settings.execution_role_arn
    caller = sts.get_caller_identity()
    account, own = arn.split(":")[4], caller["Account"]
    if account != own:
        remedy = f"is of account {account}, and the connection's is {own}: jobs can use only roles of their own account"
        return Findings.of([Problem(field=FIELD, value=arn, remedy=remedy)])
    looks = (
        _noted("role's permissions", lambda: _permission_findings(iam, s3, settings)),
        *([_noted("role's permissions", lambda: Findings.of(_alarm_problems(iam, settings)))] if alarms else []),
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
        remedy = f"may not be used by SageMaker: allow sts:AssumeRole to {SERVICE} in its trust policy"
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


def _alarm_problems(iam: IAMClient, settings: Settings) -> Iterator[Problem]:
    arn, action = settings.execution_role_arn, "cloudwatch:DescribeAlarms"
    _, partition, _, _, account, _ = arn.split(":", maxsplit=5)
    alarms = f"arn:{partition}:cloudwatch:{settings.region}:{account}:alarm:{ALARM_PREFIX}-endpoint"
    if _refused(iam, arn, [action], alarms):
        remedy = f"may not {action} on {ALARM_PREFIX}-*, and so cannot roll back: allow it in the role's policy"
        yield Problem(field=FIELD, value=arn, remedy=remedy)


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
    remedy = f"may not be passed to SageMaker by {source}: allow it iam:PassRole on this role"
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


def key_findings(kms: Any, settings: Settings) -> Findings:
    """A key that does not exist, is not enabled, or encrypts nothing. Raises botocore's errors of other kinds."""
    return Findings.of(_key_problems(kms, settings.kms_key_id))


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


def network_findings(ec2: Any, settings: Settings) -> Findings:
    """Subnets and security groups that do not exist or belong to several networks. Raises botocore's other errors."""
    return Findings.of(_network_problems(ec2, settings))


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
    """The problem of a name that EC2 does not know; raises the error again if it says something else."""
    if not error.response["Error"]["Code"].startswith(code):
        raise error
    return Problem(field=field, value=name, remedy="does not exist in this region: correct it")


def bucket_questions(s3: S3Client, settings: Settings) -> dict[str, Question]:
    """One for each bucket, by its setting: is it missing, closed to the connection's role, or of another region."""
    return {name: partial(_bucket_findings, s3, name, settings) for name in BUCKETS if settings.has(name)}


def bucket_problems(answers: Mapping[str, Findings], settings: Settings) -> list[Problem]:
    """What is wrong with the buckets; without S3 nothing works, so that a bucket that gave no answer is wrong too."""
    problems: list[Problem] = []
    for name in filter(settings.has, BUCKETS):
        problems += answers[name].problems
        for note in answers[name].notes:
            remedy = f"S3 gives {note.removeprefix(f'{name}: ')}: start again when it does"
            problems.append(Problem(field=f"settings.{name}", value=getattr(settings, name), remedy=remedy))
    return problems


def _bucket_findings(s3: S3Client, name: str, settings: Settings) -> Findings:
    return Findings.of(_bucket_problems(s3, name, settings))


def _bucket_problems(s3: S3Client, name: str, settings: Settings) -> Iterator[Problem]:
    field, bucket = f"settings.{name}", getattr(settings, name)
    try:
        region = s3.head_bucket(Bucket=bucket).get("BucketRegion")
    except ClientError as error:
        yield Problem(
            field=field, value=bucket, remedy=_bucket_remedy(_with_reason(s3, bucket, error), settings.region, bucket)
        )
        return
    if region and region != settings.region and settings.region in registry_accounts():
        remedy = f"is in {region}, and jobs of {settings.region} read buckets of {settings.region} only"
        yield Problem(field=field, value=bucket, remedy=f"{remedy}: use a bucket of that region")


def _with_reason(s3: S3Client, bucket: str, error: ClientError) -> ClientError:
    """The same refusal with its reason: an answer to a HEAD has no body, and so no code."""
    if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (400, 403):
        return error
    try:
        s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as said:
        return said
    return error


def _bucket_remedy(error: ClientError, region: str, bucket: str) -> str:
    code = error.response["ResponseMetadata"]["HTTPStatusCode"]
    remedies = {
        301: f"is in another region than {region}: use a bucket of that region",
        404: "does not exist: create it or correct the setting",
    }
    return remedies.get(code) or explained(error, f"s3://{bucket}", LIST) or f"S3 answers {code}: {error}"
