"""How good a model is: its answers, batch transform, figures, report, leaderboard, the accuracy of an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pydantic import BaseModel

    from include.sagemaker.naming import Run
    from include.settings import Settings


def write_beside_report(
    s3: S3Client, name: str, document: BaseModel, *, settings: Settings, run: Run, exclude_none: bool = False
) -> str:
    """Write a document of a run beside its report, as JSON; returns its address."""
    key = f"{settings.report_prefix(run.name)}{name}"
    body = document.model_dump_json(indent=2, exclude_none=exclude_none).encode()
    s3.put_object(Bucket=settings.output_bucket, Key=key, Body=body, ContentType="application/json")
    return f"s3://{settings.output_bucket}/{key}"
