"""Creates what the settings of an installation name: buckets, role, queue, and the notification of new images.

On AWS the CloudFormation stack in `infrastructure/` does this; here it is done through the same API, so that the demo
and the docker compose installation start from an empty account. `python -m demo.bootstrap` reads the settings from the
environment, as Airflow does.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

SETTINGS_VARIABLE = "AIRFLOW_VAR_IMAGE_CLASSIFICATION"
ACCOUNT = "123456789012"
REGION = "us-east-1"
IMAGES_PREFIX = "images/"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


PRICES = {"ml.g4dn.xlarge": 0.736, "ml.m5.large": 0.115, "ml.c5.xlarge": 0.204}


@dataclass(frozen=True)
class LocalSettings:
    """The settings of an installation on the local AWS: the content of the Airflow Variable `image_classification`."""

    queue_url: str
    data_bucket: str = "image-classification-data"
    output_bucket: str = "image-classification-output"
    execution_role_arn: str = f"arn:aws:iam::{ACCOUNT}:role/image-classification-sagemaker"
    region: str = REGION
    poll_seconds: int = 2
    source_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Archives may be served on this machine."""
    imagenet_weights: bool = False
    """The algorithm of the local AWS has none."""
    prices: dict[str, float] = field(default_factory=lambda: dict(PRICES))
    """The local AWS has no price list: what the machines of the demo cost an hour in us-east-1, so that cost shows."""

    @classmethod
    def at(cls, aws_url: str) -> LocalSettings:
        """The settings for the local AWS at an address."""
        return cls(queue_url=f"{aws_url}/{ACCOUNT}/image-classification-new-images")

    @classmethod
    def from_json(cls, text: str) -> LocalSettings:
        """Read what `to_json` wrote."""
        document = json.loads(text)
        return cls(**document | {"source_networks": tuple(document.get("source_networks", cls.source_networks))})

    def to_json(self) -> str:
        """The Variable's content."""
        return json.dumps(asdict(self))


def client_config() -> Config:
    """The configuration of a client of the local AWS: bucket names are not host names there."""
    return Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, max_pool_connections=32)


def bootstrap(settings: LocalSettings, session: boto3.Session, aws_url: str) -> None:
    """Create what is missing; what exists stays as it is."""
    s3 = session.client("s3", endpoint_url=aws_url, config=client_config())
    for bucket in (settings.data_bucket, settings.output_bucket):
        _create_bucket(s3, bucket)
    _create_role(session.client("iam", endpoint_url=aws_url), settings.execution_role_arn)
    _announce_new_images(s3, session.client("sqs", endpoint_url=aws_url), settings)


def local_session() -> boto3.Session:
    """A session with credentials that only the local AWS accepts."""
    return boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)  # noqa: S106


def _create_bucket(client: S3Client, bucket: str) -> None:
    client.create_bucket(Bucket=bucket)
    client.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )


def _create_role(client: IAMClient, arn: str) -> None:
    try:
        client.create_role(RoleName=arn.rpartition("/")[2], AssumeRolePolicyDocument=json.dumps(TRUST))
    except ClientError as error:
        if error.response["Error"]["Code"] != "EntityAlreadyExists":
            raise


def _announce_new_images(s3: S3Client, sqs: SQSClient, settings: LocalSettings) -> None:
    name = settings.queue_url.rpartition("/")[2]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.put_bucket_notification_configuration(
        Bucket=settings.data_bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arn,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": IMAGES_PREFIX}]}},
                }
            ]
        },
    )


def main() -> None:
    """Create what the settings in the environment name, at AWS_ENDPOINT_URL."""
    settings = LocalSettings.from_json(os.environ[SETTINGS_VARIABLE])
    bootstrap(settings, local_session(), os.environ["AWS_ENDPOINT_URL"])
    print(f"Buckets {settings.data_bucket} and {settings.output_bucket}, the queue and the role are there.")


if __name__ == "__main__":
    main()
