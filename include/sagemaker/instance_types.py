"""The machines that SageMaker offers, and what is in them.

Sources: botocore's own model of the API (which machines there are, for what); EC2's pages of the GPU families;
developer guide, "Instance Storage Volumes" of Nitro instances.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from botocore.session import get_session

Purpose = Literal["TrainingInstanceType", "ProductionVariantInstanceType", "TransformInstanceType"]
DEFAULT_TRANSFORM_TYPE = "ml.m5.large"
GPUS = {
    "ml.p2.8xlarge": 8,
    "ml.p2.16xlarge": 16,
    "ml.p3.8xlarge": 4,
    "ml.p3.16xlarge": 8,
    "ml.p3dn.24xlarge": 8,
    "ml.g4dn.12xlarge": 4,
    "ml.g5.12xlarge": 4,
    "ml.g5.24xlarge": 4,
    "ml.g5.48xlarge": 8,
}
"""GPUs of the machines with more than one."""
OWN_DISK_GB = {
    "ml.g4dn.xlarge": 125,
    "ml.g4dn.2xlarge": 225,
    "ml.g4dn.4xlarge": 225,
    "ml.g4dn.8xlarge": 900,
    "ml.g4dn.12xlarge": 900,
    "ml.g4dn.16xlarge": 900,
    "ml.g5.xlarge": 250,
    "ml.g5.2xlarge": 450,
    "ml.g5.4xlarge": 600,
    "ml.g5.8xlarge": 900,
    "ml.g5.16xlarge": 1900,
    "ml.g5.12xlarge": 3800,
    "ml.g5.24xlarge": 3800,
    "ml.g5.48xlarge": 7600,
    "ml.p3dn.24xlarge": 1800,
}
"""Machines that use the disk they have, and refuse a volume larger than it."""
LOCAL_STORAGE_FAMILIES = tuple(sorted({f"{machine.rpartition('.')[0]}." for machine in OWN_DISK_GB}))
"""Families of these machines: hardware encrypts their disks, and AWS refuses a volume key for them."""


@cache
def instance_types(purpose: Purpose) -> tuple[str, ...]:
    """The instance types that training jobs, endpoints or transform jobs may name."""
    model = get_session().get_service_model("sagemaker")
    return tuple(model.shape_for(purpose).metadata["enum"])


def transform_instance_type(endpoint_type: str) -> str:
    """The endpoint's own type if transform jobs have it, so that both predict alike; else a small CPU machine."""
    return endpoint_type if endpoint_type in instance_types("TransformInstanceType") else DEFAULT_TRANSFORM_TYPE
