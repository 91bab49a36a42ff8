"""What a service is given: the running local AWS, and one account in one region of it, with clients of the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from local_aws.container_images import ContainerImages
from local_aws.faults import Faults
from local_aws.job_slots import JobSlots
from local_aws.metric_feed import MetricFeed
from local_aws.safe_paths import inside

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


@dataclass(frozen=True)
class Server:
    """The running local AWS: its URL on loopback, state directory, job slots, container images, faults to come.

    `names` are hosts it answers to beside the names of this machine.
    """

    endpoint_url: str
    state_dir: Path
    slots: JobSlots
    images: ContainerImages
    faults: Faults = field(default_factory=Faults)
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aws:
    """One account in one region of the running local AWS, with clients for its services."""

    server: Server
    account: str
    region: str

    @property
    def partition(self) -> str:
        """The partition of the region: aws, aws-cn or aws-us-gov."""
        return next((name for prefix, name in PARTITIONS.items() if self.region.startswith(prefix)), "aws")

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a SageMaker resource, for example of kind "training-job"."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{kind}/{name}"

    def directory(self, kind: str, name: str) -> Path:
        """A directory under the state directory for one resource; it is not made here."""
        return inside(self.server.state_dir, self.account, self.region, kind, name)

    @cached_property
    def s3(self) -> S3Client:
        """An S3 client that talks to this server."""
        client: S3Client = self._client("s3")
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """A CloudWatch Logs client that talks to this server."""
        client: CloudWatchLogsClient = self._client("logs")
        return client

    @cached_property
    def metrics(self) -> MetricFeed:
        """What sends metrics to the CloudWatch of this server."""
        return MetricFeed(self.cloudwatch)

    @cached_property
    def cloudwatch(self) -> Any:
        """A CloudWatch client that talks to this server."""
        return self._client("cloudwatch")

    @cached_property
    def sns(self) -> Any:
        """An SNS client that talks to this server."""
        return self._client("sns")

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        """A SageMaker client that talks to this server."""
        client: SageMakerClient = self._client("sagemaker")
        return client

    def _client(self, service: str) -> Any:
        """Make a client for our own port that no proxy, CA bundle, profile or endpoint of the environment disturbs."""
        session: Any = boto3.Session(
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106
            region_name=self.region,
        )
        client = session.client(
            service,
            endpoint_url=self.server.endpoint_url,
            config=Config(
                proxies={},
                max_pool_connections=64,
                retries={"max_attempts": 1, "mode": "standard"},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
            verify=False,
        )
        client.meta.events.register("before-sign", self._name_account)
        return client

    def _name_account(self, request: Any, **_: Any) -> None:
        request.headers["x-moto-account-id"] = self.account
