"""An installation to run DAGs in: a local AWS, buckets, settings, and real images of three digits."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3

from demo.bootstrap import IMAGES_PREFIX, LocalSettings, bootstrap, client_config
from demo.sample_images import SampleImage, digit_images, upload
from tests.support.local_aws import RunningLocalAws, start_local_aws

GATED_ALGORITHM = Path(__file__).with_name("gated_algorithm.py")
DIGITS = ("0", "1", "7")
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
"""What AWS clients need beside the endpoint."""

SMALL = {
    "dataset.name": "digits",
    "dataset.packing.resize": 28,
    "dataset.split.train": 0.6,
    "dataset.split.validation": 0.2,
    "dataset.split.test": 0.2,
    "training.mode": "train",
    "training.hyperparameters.num_layers": 20,
    "training.hyperparameters.image_shape": "3,28,28",
    "training.hyperparameters.mini_batch_size": 16,
    "training.hyperparameters.learning_rate": 0.05,
    "training.hyperparameters.epochs": 2,
    "promotion.minimum_accuracy": 0.0,
}
"""A run conf for a few dozen images."""


def gated_image(gates: Path) -> str:
    """The value of `--image` with which training jobs wait for a file of their name in the folder `gates`."""
    return f"image-classification={sys.executable} {GATED_ALGORITHM} {gates}"


def digits(*labels: str, count: int, first: int = 0) -> list[SampleImage]:
    """`count` scanned digits of each class, after the first `first` ones."""
    found = {label: [image for image in digit_images() if image.key.startswith(f"{label}/")] for label in labels}
    return [image for images in found.values() for image in images[first : first + count]]


@dataclass
class World:
    """A started local AWS with everything the settings name."""

    aws: RunningLocalAws
    settings: LocalSettings

    @cached_property
    def s3(self) -> Any:
        return boto3.client("s3", endpoint_url=self.aws.url, config=client_config(), **_credentials())

    @cached_property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    @cached_property
    def runtime(self) -> Any:
        return self.client("sagemaker-runtime")

    def client(self, service: str) -> Any:
        """A boto3 client of any other service."""
        return boto3.client(service, endpoint_url=self.aws.url, **_credentials())

    @property
    def environment(self) -> dict[str, str]:
        """How Airflow finds this world."""
        return {
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL": self.aws.url,
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
            "AIRFLOW_VAR_IMAGE_CLASSIFICATION": self.settings.to_json(),
        }

    def drop(self, images: list[SampleImage]) -> None:
        """Put images where a data team puts them."""
        upload(self.s3, self.settings.data_bucket, IMAGES_PREFIX, images)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def document(self, uri: str) -> Any:
        """Read a JSON object of S3."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def training_jobs(self) -> dict[str, str]:
        """Every training job and its status."""
        pages = self.sagemaker.get_paginator("list_training_jobs").paginate()
        return {
            job["TrainingJobName"]: job["TrainingJobStatus"] for page in pages for job in page["TrainingJobSummaries"]
        }

    def endpoints(self) -> dict[str, str]:
        """Every endpoint and its status."""
        answer = self.sagemaker.list_endpoints()
        return {endpoint["EndpointName"]: endpoint["EndpointStatus"] for endpoint in answer["Endpoints"]}

    def start_again(self, *arguments: str) -> None:
        """Start another local AWS, which knows nothing, at the address of the one that ended."""
        port = self.aws.url.rpartition(":")[2]
        self.aws = start_local_aws(self.aws.state_dir, *arguments, "--port", port)


@contextmanager
def running_world(state: Path, *arguments: str) -> Iterator[World]:
    """Start a local AWS, make what the settings name, and end it at the end."""
    aws = start_local_aws(state, *arguments)
    world = World(aws, replace(LocalSettings.at(aws.url), poll_seconds=1))
    try:
        region = world.settings.region
        session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=region)
        bootstrap(world.settings, session, aws.url)
        yield world
    finally:
        world.aws.end()  # a test may have started another one in its place


def _credentials() -> Mapping[str, Any]:
    return {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
