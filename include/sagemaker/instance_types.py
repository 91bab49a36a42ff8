"""Which machines SageMaker offers for what, from botocore's own model of the API."""

from __future__ import annotations

from functools import cache
from typing import Literal

from botocore.session import get_session

Purpose = Literal["TrainingInstanceType", "ProductionVariantInstanceType", "TransformInstanceType"]
DEFAULT_TRANSFORM_TYPE = "ml.m5.large"


@cache
def instance_types(purpose: Purpose) -> tuple[str, ...]:
    """The instance types that training jobs, endpoints or transform jobs may name."""
    model = get_session().get_service_model("sagemaker")
    return tuple(model.shape_for(purpose).metadata["enum"])


def transform_instance_type(endpoint_type: str) -> str:
    """The endpoint's own type where transform jobs have it, so that both predict alike; else a small CPU machine."""
    return endpoint_type if endpoint_type in instance_types("TransformInstanceType") else DEFAULT_TRANSFORM_TYPE
