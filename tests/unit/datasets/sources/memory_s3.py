"""Documents in memory, read as a boto3 client reads them from S3: for tests of readers that ask thousands of times."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from include.datasets.sources.listing import Folder, ListedObject, ObjectTable


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


class MemoryListing:
    """A bucket of a few images below `images/`, in which labels are looked for."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        keys = ("images/1.jpg", "images/cat/1.jpg", "images/Cat/1.JPG", "images/dog 2.jpg", "other/x.jpg")
        self._objects = {key: ListedObject(key, "0", 1) for key in keys}

    def folder(self, prefix: str) -> Folder:
        return ObjectTable.of(self._objects.values()).folder(prefix)

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        return (listed for key, listed in sorted(self._objects.items()) if key.startswith(prefix))

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        return {key: self._objects[key] for key in keys if key in self._objects}

    def sample(self, prefix: str, count: int) -> list[str]:
        return [listed.key for listed in self.objects(prefix)][:count]

    def absent(self, prefix: str) -> Iterator[str]:
        return iter(())

    def unmatched(self) -> str:
        return ""
