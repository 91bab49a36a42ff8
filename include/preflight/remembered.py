"""What takes long to look up and changes rarely, kept in the output bucket for the next run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Remembered:
    """A JSON object at `s3://BUCKET/preflight/NAME.json`; where it cannot be read or written, nothing is remembered."""

    s3: S3Client
    bucket: str
    name: str

    def read(self) -> dict[str, Any]:
        """What is remembered, empty where nothing is."""
        try:
            body = self.s3.get_object(Bucket=self.bucket, Key=self._key)["Body"].read()
            content = json.loads(body)
        except (ClientError, BotoCoreError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, content: dict[str, Any]) -> None:
        """Remember this instead."""
        with contextlib.suppress(ClientError, BotoCoreError):
            self.s3.put_object(Bucket=self.bucket, Key=self._key, Body=json.dumps(content).encode())

    @property
    def _key(self) -> str:
        return f"preflight/{self.name}.json"
