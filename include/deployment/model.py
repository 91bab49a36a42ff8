"""SageMaker models: an artifact and the image that serves it; what endpoints and transform jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.deployment.existing import existing
from include.training.naming import Run, readable_name
from include.training.requests import image_uri, tags, vpc_config

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.settings import Settings


def model_request(
    artifact: str, *, settings: Settings, run: Run, dataset: DatasetVersion | None = None, prefix: str = "model"
) -> dict[str, Any]:
    """The body of CreateModel; the name follows from artifact and image, so every run calls the same model the same."""
    image = image_uri(settings)
    return {
        "ModelName": readable_name(dataset.name if dataset else prefix, artifact, image, settings.execution_role_arn),
        "PrimaryContainer": {"Image": image, "ModelDataUrl": artifact},
        "ExecutionRoleArn": settings.execution_role_arn,
        "EnableNetworkIsolation": settings.network_isolation,
        **vpc_config(settings),
        "Tags": tags(settings, run, dataset),
    }


def ensure_model(sagemaker: SageMakerClient, request: dict[str, Any]) -> str:
    """Create the model unless it is there already; returns its name."""
    name = str(request["ModelName"])
    if existing(sagemaker.describe_model, ModelName=name) is None:
        sagemaker.create_model(**request)
    return name
