"""Batch transform jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from image_classification.context import AwsAccess
from image_classification.links import WrittenLink
from image_classification.operators.sagemaker_job import SageMakerJobOperator
from include.sagemaker.job_kinds import TRANSFORM


class TransformJobOperator(SageMakerJobOperator):
    """A batch transform job; hands on `name`, `status`, `model` and `output`, where the answers lie."""

    kind = TRANSFORM
    operator_extra_links = (
        *SageMakerJobOperator.operator_extra_links,
        WrittenLink("Answers in S3", lambda job: f"{job['output'].rstrip('/')}/"),
    )

    def result(self, access: AwsAccess, description: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """The few facts that an evaluation needs."""
        return {
            "name": description["TransformJobName"],
            "status": description["TransformJobStatus"],
            "model": description["ModelName"],
            "output": description["TransformOutput"]["S3OutputPath"],
        }
