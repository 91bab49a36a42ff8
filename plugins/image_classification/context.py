"""AWS clients of tasks and triggers: the deployment's connection and region, the same before and after a deferral."""

from __future__ import annotations

import json
import os
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from include.settings import Settings


@dataclass(frozen=True)
class AwsAccess:
    """How AWS is reached: what the provider's hooks take, in a form that a deferred task's trigger can carry."""

    aws_conn_id: str | None = "aws_default"
    region_name: str | None = None
    verify: bool | str | None = None
    botocore_config: dict[str, Any] | None = None

    @classmethod
    def of(cls, settings: Settings) -> AwsAccess:
        """The access that the deployment's settings name."""
        return cls(aws_conn_id=settings.aws_conn_id, region_name=settings.region)

    def as_fields(self) -> dict[str, Any]:
        """The fields as JSON values: `AwsAccess(**fields)` is equal to this one."""
        return asdict(self)

    def as_text(self) -> str:
        """The same text for all accesses that are equal."""
        return json.dumps(self.as_fields(), sort_keys=True)

    def hook(self, service: str) -> AwsBaseHook:
        """The provider's hook for one service (`sagemaker`, `logs`, `s3`, ...)."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        return AwsBaseHook(
            client_type=service,
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name,
            verify=self.verify,
            config=self.botocore_config,
        )

    def endpoint(self, service: str) -> str:
        """The address of a service that the connection or the environment names; empty for AWS's own."""
        named = self.hook(service).conn_config.get_service_endpoint_url(service)
        return (
            named or os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or os.environ.get("AWS_ENDPOINT_URL") or ""
        )

    def client(self, service: str) -> Any:
        """A boto3 client of one service."""
        return self.hook(service).conn

    async def connect(self, service: str) -> AbstractAsyncContextManager[Any]:
        """An aiobotocore client of one service, once it is entered."""
        client: AbstractAsyncContextManager[Any] = await self.hook(service).get_async_conn()
        return client
