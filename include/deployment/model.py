"""SageMaker models: an artifact and the image that serves it; what endpoints and transform jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.sagemaker.answers import existing
from include.sagemaker.image_uris import image_uri
from include.sagemaker.naming import Run, content_name, tags
from include.sagemaker.network import network

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.settings import Settings


def model_request(
    artifact: str, *, settings: Settings, run: Run, dataset: DatasetVersion | None = None, prefix: str = "model"
) -> dict[str, Any]:
    """The body of CreateModel; its name follows from everything else in it but the tags, which belong to one run."""
    content = {
        "PrimaryContainer": {"Image": image_uri(settings), "ModelDataUrl": artifact},
        "ExecutionRoleArn": settings.execution_role_arn,
        **network(settings),
    }
    name = content_name(dataset.name if dataset else prefix, content)
    return {"ModelName": name, **content, "Tags": tags(settings, run, dataset)}


def ensure_model(sagemaker: SageMakerClient, request: dict[str, Any]) -> str:
    """Create the model unless it is there already; returns its name."""
    name = str(request["ModelName"])
    if existing(sagemaker.describe_model, ModelName=name) is None:
        sagemaker.create_model(**request)
    return name
