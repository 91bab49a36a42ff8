"""The stack's policy for Airflow beside the calls in the code: none is missing, and none of SageMaker's is too many."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from include.sagemaker.api import KINDS

ROOT = Path(__file__).parents[3]
PREFIXES = {
    "sagemaker": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "s3": "s3",
    "logs": "logs",
    "cloudwatch": "cloudwatch",
    "application-autoscaling": "application-autoscaling",
    "iam": "iam",
    "service-quotas": "servicequotas",
    "pricing": "pricing",
    "ec2": "ec2",
    "ecr": "ecr",
    "kms": "kms",
}
"""What the actions of a service begin with."""

S3_ACTIONS = {
    "HeadBucket": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadObject": "GetObject",
    "GetObjectAttributes": "GetObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "DeleteObjects": "DeleteObject",
}
"""Operations of S3 that are allowed by an action of another name."""

WITHOUT_A_CALL = {"sagemaker:AddTags", "sagemaker:UpdateEndpointWeightsAndCapacities"}
"""What AWS asks for when something is created with tags, and of who registers an endpoint to be scaled.

Source: SageMaker developer guide, "Auto scaling prerequisites".
"""


OF_ANOTHER_SERVICE = {"ec2:DescribeImages"}
"""Actions whose method has the name of one that the code calls: images of machines, not of containers."""

PUSHES = {
    "ecr:BatchCheckLayerAvailability",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:TagResource",
}
"""What ECR asks of who pushes with Docker and makes a repository with tags.

Source: Amazon ECR user guide, "IAM permissions for pushing an image".
"""


class Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms (`!Sub`, `!GetAtt`, ...) as what they are given."""


def _short_form(loader: Template, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]


Template.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def statements() -> list[dict[str, Any]]:
    template = yaml.load((ROOT / "infrastructure/stack.yaml").read_text(), Template)
    found: list[dict[str, Any]] = template["Resources"]["AirflowPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    return found


@pytest.fixture(scope="module")
def allowed(statements: list[dict[str, Any]]) -> set[str]:
    listed = [statement["Action"] for statement in statements]
    return {action for actions in listed for action in ([actions] if isinstance(actions, str) else actions)}


@pytest.fixture(scope="module")
def called() -> set[str]:
    """The actions behind every client method that the code of tasks and triggers names."""
    sources = [path.read_text() for room in ("include", "plugins") for path in (ROOT / room).rglob("*.py")]
    text = "\n".join(sources)
    words = {*re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", text), *re.findall(r'get_paginator\("(\w+)"\)', text)}
    for kind in KINDS.values():
        words |= {kind.describe, kind.create} | ({kind.list, kind.stop} if kind.listed else set())
    found = {f"{prefix}:{action}" for service, prefix in PREFIXES.items() for action in _actions(service, words)}
    return found - OF_ANOTHER_SERVICE


def _actions(service: str, words: set[str]) -> set[str]:
    client: Any = boto3.client(service, region_name="eu-central-1")
    methods = client.meta.method_to_api_mapping
    names = {operation for method, operation in methods.items() if method in words}
    return {S3_ACTIONS.get(name, name) for name in names} if service == "s3" else names


def test_airflow_may_call_all_that_the_code_calls(called: set[str], allowed: set[str]) -> None:
    assert {"sagemaker:CreateTrainingJob", "s3:GetObject", "servicequotas:GetServiceQuota"} <= called
    assert sorted(called - allowed) == []


def test_airflow_may_call_no_more_of_sagemaker_than_the_code_calls(called: set[str], allowed: set[str]) -> None:
    of_sagemaker = {action for action in allowed if action.startswith("sagemaker:")}
    assert sorted(of_sagemaker - called - WITHOUT_A_CALL) == []


def test_airflow_may_do_no_more_with_images_than_publish_them_below_the_name_of_the_stack(
    statements: list[dict[str, Any]], called: set[str], allowed: set[str]
) -> None:
    of_ecr = {action for action in allowed if action.startswith("ecr:")}
    resources = {str(each["Resource"]) for each in statements if "ecr:PutImage" in each["Action"]}

    assert "ecr:CreateRepository" in called
    assert sorted(of_ecr - called - PUSHES) == []
    assert [resource.partition("AccountId}:")[2] for resource in resources] == ["repository/${AWS::StackName}/*"]


def test_airflow_may_publish_to_the_topic_of_the_stack_alone(statements: list[dict[str, Any]]) -> None:
    assert [each["Resource"] for each in statements if "sns" in str(each["Action"])] == ["People"]


def test_airflow_may_delete_objects_only_where_the_code_keeps_working_files(statements: list[dict[str, Any]]) -> None:
    resources = [each["Resource"] for each in statements if "s3:DeleteObject" in each["Action"]]
    named = {name for each in resources for name in ([each] if isinstance(each, str) else each)}
    assert named == {
        "${DataBucket.Arn}/datasets/*",
        "${DataBucket.Arn}/unpacked/*",
        "${OutputBucket.Arn}/predictions/*/images/*",
        "${OutputBucket.Arn}/answers/*",
    }
