from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import BUCKET, IMAGE, Scripted, unique
from tests.support.local_aws import ROLE


@pytest.fixture
def group(control: Any) -> str:
    name = unique("group")
    control.create_model_package_group(ModelPackageGroupName=name, ModelPackageGroupDescription="digits")
    return name


def specification(url: str, **container: Any) -> dict[str, Any]:
    return {
        "Containers": [{"Image": IMAGE, "ModelDataUrl": url, **container}],
        "SupportedContentTypes": ["image/jpeg"],
        "SupportedResponseMIMETypes": ["application/json"],
    }


def registered(control: Any, group: str, url: str = f"s3://{BUCKET}/m.tar.gz", **fields: Any) -> str:
    arn: str = control.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=specification(url), **fields
    )["ModelPackageArn"]
    return arn


def test_versions_count_up_and_await_approval(control: Any, group: str) -> None:
    metrics = {
        "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/metrics.json"}}
    }
    first = registered(control, group, ModelMetrics=metrics, CustomerMetadataProperties={"dataset": "digits-1"})
    second = registered(control, group)
    assert first == f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/1"
    assert second.endswith("/2")
    package = control.describe_model_package(ModelPackageName=first)
    assert (package["ModelPackageGroupName"], package["ModelPackageVersion"]) == (group, 1)
    assert package["ModelPackageStatus"] == "Completed"
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelMetrics"] == metrics
    assert package["CustomerMetadataProperties"] == {"dataset": "digits-1"}
    assert package["InferenceSpecification"]["Containers"][0]["Image"] == IMAGE


def test_approval_and_metadata_are_updated(control: Any, group: str) -> None:
    arn = registered(control, group, CustomerMetadataProperties={"a": "1", "b": "2"})
    control.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="accurate",
        CustomerMetadataProperties={"c": "3"},
        CustomerMetadataPropertiesToRemove=["a"],
    )
    package = control.describe_model_package(ModelPackageName=arn)
    assert (package["ModelApprovalStatus"], package["ApprovalDescription"]) == ("Approved", "accurate")
    assert package["CustomerMetadataProperties"] == {"b": "2", "c": "3"}


def test_a_version_is_updated_as_often_as_one_likes(control: Any, group: str) -> None:
    arn = registered(control, group)
    for status, why in (("Approved", "by Ada"), ("Rejected", "by Grace"), ("Approved", "by Ada again")):
        control.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status, ApprovalDescription=why)
    package = control.describe_model_package(ModelPackageName=arn)
    assert (package["ModelApprovalStatus"], package["ApprovalDescription"]) == ("Approved", "by Ada again")


def test_the_latest_approved_version_is_listed_first(control: Any, group: str) -> None:
    arns = [registered(control, group, ModelApprovalStatus=s) for s in ("Approved", "Rejected", "Approved")]
    listed = control.list_model_packages(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", SortOrder="Descending"
    )["ModelPackageSummaryList"]
    assert [package["ModelPackageArn"] for package in listed] == [arns[2], arns[0]]
    pages = control.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["ModelPackageSummaryList"]) for page in pages] == [2, 1]
    batch = control.batch_describe_model_package(ModelPackageArnList=[arns[0], f"{arns[0]}0"])
    assert list(batch["ModelPackageSummaries"]) == [arns[0]]
    assert list(batch["BatchDescribeModelPackageErrorMap"]) == [f"{arns[0]}0"]


def test_a_package_without_a_group_has_a_name(control: Any) -> None:
    name = unique("package")
    inference = specification(f"s3://{BUCKET}/m.tar.gz")
    arn = control.create_model_package(ModelPackageName=name, InferenceSpecification=inference)["ModelPackageArn"]
    assert arn.endswith(f":model-package/{name}")
    assert control.describe_model_package(ModelPackageName=name)["ModelPackageArn"] == arn
    listed = control.list_model_packages(NameContains=name)["ModelPackageSummaryList"]
    assert [package["ModelPackageName"] for package in listed] == [name]
    with pytest.raises(ClientError, match="already exists"):
        control.create_model_package(ModelPackageName=name, InferenceSpecification=inference)


def test_groups_are_described_listed_and_deleted_when_empty(control: Any, group: str) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package-group/{group}"
    for name in (group, arn):
        description = control.describe_model_package_group(ModelPackageGroupName=name)
        assert (description["ModelPackageGroupArn"], description["ModelPackageGroupStatus"]) == (arn, "Completed")
    listed = control.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
    assert [entry["ModelPackageGroupName"] for entry in listed] == [group]
    with pytest.raises(ClientError, match="already exists"):
        control.create_model_package_group(ModelPackageGroupName=group)
    package = registered(control, group)
    with pytest.raises(control.exceptions.ConflictException):
        control.delete_model_package_group(ModelPackageGroupName=group)
    control.delete_model_package(ModelPackageName=package)
    with pytest.raises(ClientError, match="does not exist") as refusal:
        control.describe_model_package(ModelPackageName=package)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    control.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        control.describe_model_package_group(ModelPackageGroupName=group)


def test_a_model_is_made_and_deployed_from_a_package(
    scripted: Scripted, control: Any, runtime: Any, group: str
) -> None:
    package = registered(control, group, scripted.put_model({"answer.txt": b"registered"}))
    model, endpoint = unique("model"), unique("endpoint")
    container = {"ModelPackageName": package, "Environment": {"GREETING": "hello"}}
    control.create_model(ModelName=model, ExecutionRoleArn=ROLE, Containers=[container])
    described = control.describe_model(ModelName=model)
    assert described["Containers"][0]["ModelPackageName"] == package
    control.create_endpoint(EndpointName=endpoint, EndpointConfigName=scripted.config(AllTraffic=(model, 1.0)))
    assert scripted.settled(endpoint)["EndpointStatus"] == "InService"
    answer = json.loads(runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x")["Body"].read())
    assert (answer["model"], answer["greeting"]) == ("registered", "hello")
    control.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Rejected")
    with pytest.raises(ClientError, match="rejected"):
        control.create_model(ModelName=unique("model"), ExecutionRoleArn=ROLE, Containers=[container])


def test_tags_belong_to_the_group(control: Any) -> None:
    name = unique("group")
    arn = control.create_model_package_group(ModelPackageGroupName=name, Tags=[{"Key": "team", "Value": "vision"}])[
        "ModelPackageGroupArn"
    ]
    assert control.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "vision"}]
