"""AWS clients of tasks and triggers: the deployment's connection and region, the same before and after a deferral."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from include.settings import Settings


def time_at_aws(answer: Mapping[str, Any]) -> float:
    """The Unix time at which AWS answered, by its own clock, as all times in its answers are."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


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
