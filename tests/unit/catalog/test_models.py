from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.catalog.models import ListedVersion, read_facts
from include.deployment.registry import NoModelError

GROUP = "image-classification-pets"
IMAGE = "1.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1"
LINEAGE = {
    "training-job": "a-job",
    "dataset": "pets",
    "dataset-version": "v1",
    "dataset-uri": "s3://data/datasets/pets/v1/",
    "dag": "image_classification",
    "run": "manual__1",
}


def free(_machine: str, _use: str) -> None:
    return None


def facts_of(properties: dict[str, str]) -> tuple[Any, list[str]]:
    """The facts of a version with these properties, and the operations that SageMaker was asked for."""
    keys: Any = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "eu-central-1"}
    with mock_aws():
        sagemaker, s3 = boto3.client("sagemaker", **keys), boto3.client("s3", **keys)
        sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
        specification = {
            "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://models/model.tar.gz"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        }
        arn = sagemaker.create_model_package(
            ModelPackageGroupName=GROUP,
            ModelApprovalStatus="Approved",
            InferenceSpecification=specification,
            CustomerMetadataProperties=properties,
        )["ModelPackageArn"]
        asked: list[str] = []
        sagemaker.meta.events.register("before-call.sagemaker", lambda model, **_: asked.append(model.name))
        listed = ListedVersion(arn=arn, version=1, approval="Approved", created=datetime.now(UTC))
        return read_facts(sagemaker, s3, listed, free), asked


def test_the_facts_of_a_version_come_from_one_description_of_its_package() -> None:
    facts, asked = facts_of(LINEAGE)
    assert (facts.number, facts.dag, facts.run) == (1, "image_classification", "manual__1")
    assert facts.job is None  # nobody knows the job any more
    assert asked == ["DescribeModelPackage", "DescribeTrainingJob"]


def test_a_version_of_another_tool_has_no_facts() -> None:
    with pytest.raises(NoModelError, match="has no training-job, dataset-version, dataset-uri: it was not registered"):
        facts_of({"dataset": "pets"})
