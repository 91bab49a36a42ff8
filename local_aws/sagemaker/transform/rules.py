"""What AWS refuses in a transform job beyond the patterns and ranges of its model.

Sources: docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTransformJob.html, API_TransformInput.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_aws.aws_errors import not_local, refuse, validation_error
from local_aws.sagemaker.core.container_files import steering_variables

MAX_TOTAL_PAYLOAD_MB = 100
DEFAULT_MAX_PAYLOAD_MB = 6
NO_PROCESSING = {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}


def check_transform_job(request: Mapping[str, Any]) -> None:
    """Check the fields that must fit each other, and refuse by name what the local AWS lacks."""
    concurrent = request.get("MaxConcurrentTransforms", 0)
    payload = request.get("MaxPayloadInMB", DEFAULT_MAX_PAYLOAD_MB)
    if max(1, concurrent) * payload > MAX_TOTAL_PAYLOAD_MB:
        raise validation_error(
            f"MaxConcurrentTransforms * MaxPayloadInMB must not exceed {MAX_TOTAL_PAYLOAD_MB} MB: "
            f"{concurrent} * {payload} MB were given."
        )
    source, output = request["TransformInput"], request["TransformOutput"]
    kind = source["DataSource"]["S3DataSource"]["S3DataType"]
    if kind not in ("S3Prefix", "ManifestFile"):
        raise validation_error(f"S3DataType {kind} is not supported for transform jobs: use S3Prefix or ManifestFile.")
    for field, uri in (
        ("S3Uri", source["DataSource"]["S3DataSource"]["S3Uri"]),
        ("S3OutputPath", output["S3OutputPath"]),
    ):
        if not uri.startswith("s3://"):
            raise validation_error(f"{field} must begin with s3://, not {uri}.")
    if source.get("SplitType", "None") in ("RecordIO", "TFRecord"):
        raise not_local(f"SplitType {source['SplitType']}")
    processing = request.get("DataProcessing", {})
    changed = [f"{field}={value}" for field, value in processing.items() if value != NO_PROCESSING[field]]
    if changed:
        raise not_local(f"DataProcessing {', '.join(changed)}")
    if "DataCaptureConfig" in request:
        raise not_local("DataCaptureConfig")
    refuse(steering_variables(request.get("Environment", {}), "Environment"))
