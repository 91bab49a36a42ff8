"""Documents that the tests of several rooms start from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.datasets.version import DatasetVersion
from include.deployment.registry import RegisteredModel
from include.run_conf import RunConf
from include.settings import Settings
from include.training.best_model import BestModel

SMALL_NETWORK = {
    "training.hyperparameters.num_layers": 20,
    "training.hyperparameters.image_shape": "3,28,28",
    "training.hyperparameters.epochs": 5,
}
"""A run conf's network for the images of `dataset_version`."""
ROOT = Path(__file__).parents[2]
NO_WRITE_UPS = ("digits", "photographs")
WRITE_UPS: Mapping[str, Path] = {
    path.stem: path
    for folder in ("docs/examples", "include/run_conf/presets")
    for path in sorted((ROOT / folder).glob("*.json"))
    if path.stem not in NO_WRITE_UPS
}
"""The run confs of the five public write-ups by name: presets, and variants of them."""
VARIABLE = {
    "data_bucket": "images-of-acme",
    "output_bucket": "models-of-acme",
    "execution_role_arn": "arn:aws:iam::123456789012:role/sagemaker-execution",
    "region": "eu-central-1",
}


def settings(**changes: Any) -> Settings:
    return Settings.from_variable({**VARIABLE, **changes})


def dataset_version(**changes: Any) -> DatasetVersion:
    """A version of three classes with 80 training, 20 validation and 20 test images of 28 pixels."""
    labels = changes.pop("labels", ["cat", "dog", "owl"])
    document: dict[str, Any] = {
        "name": "pets",
        "version": "20260102T030405Z-0a1b2c3d",
        "parent": None,
        "source": {"addresses": ["s3://images-of-acme/images/"]},
        "uri": "s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/",
        "labels": labels,
        "multi_label": False,
        "counts": {"train": 80, "validation": 20, "test": 20},
        "class_counts": {label: {"train": 26, "validation": 6, "test": 6} for label in labels},
        "statuses": {"packed": 120},
        "new_images": 120,
        "smallest_side": 28,
        "next_record_id": 120,
        "packing": {},
        "split": {"train": 0.7, "validation": 0.15, "test": 0.15, "seed": 0},
        "libraries": {},
        "created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return DatasetVersion.model_validate({**document, **changes})


def described_training_job(name: str = "base-job", **changes: Any) -> dict[str, Any]:
    """DescribeTrainingJob's answer for a completed job, as far as it is read."""
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{name}",
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "CreationTime": datetime(2026, 1, 2, tzinfo=UTC),
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {}}],
        "HyperParameters": {"num_layers": "20", "image_shape": "3,28,28", "num_classes": "3", "epochs": "5"},
        "FinalMetricDataList": [
            {"MetricName": "validation:accuracy", "Value": 0.5, "Timestamp": datetime(2026, 1, 2, tzinfo=UTC)}
        ],
        "ModelArtifacts": {"S3ModelArtifacts": f"s3://models-of-acme/jobs/{name}/output/model.tar.gz"},
        "TrainingTimeInSeconds": 120,
        "BillableTimeInSeconds": 100,
        **changes,
    }


BEST_MODEL = BestModel(
    job="base-job",
    objective="validation:accuracy",
    value=0.5,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={"num_layers": "20", "image_shape": "3,28,28", "num_classes": "3", "mini_batch_size": "8"},
).model_dump(mode="json")
"""The document of a model that was trained from scratch."""


def deployment_inputs(conf: dict[str, Any], approval: str = "Approved") -> dict[str, Any]:
    """The documents that the deployment stage takes: run conf, dataset version, registered model."""
    model = RegisteredModel(
        arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/image-classification-pets/1",
        group="image-classification-pets",
        version=1,
        approval=approval,  # type: ignore[arg-type]
        artifact=BEST_MODEL["artifact"],
        image="image",
        job="base-job",
        dataset="pets",
        dataset_version="20260102T030405Z-0a1b2c3d",
        dataset_uri="s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/",
        accuracy=0.9,
    )
    return {
        "conf": RunConf.from_conf({"dataset.name": "pets", **conf}).model_dump(mode="json"),
        "dataset": dataset_version().model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
    }
