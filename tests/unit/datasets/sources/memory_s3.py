"""Documents in memory, read as a boto3 client reads them from S3: for tests of readers that ask thousands of times."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError


@dataclass
class MemoryS3:
    """A bucket and its client in one; `documents` by their keys."""

    name: str = "images-of-acme"
    documents: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, body: bytes) -> str:
        self.documents[key] = body
        return f"s3://{self.name}/{key}"

    @property
    def client(self) -> Any:
        return self

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        if Bucket != self.name or Key not in self.documents:
            error: Any = {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
            raise ClientError(error, "GetObject")
        return {"Body": io.BytesIO(self.documents[Key])}
