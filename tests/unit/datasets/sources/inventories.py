"""S3 inventories of a bucket, in the formats and with the columns that S3 writes."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq

from tests.support.dataset_bucket import Bucket
from tests.unit.datasets.sources.memory_s3 import MemoryS3

FORMATS = ("CSV", "Parquet", "ORC")
NAMES = {
    "Bucket": ("bucket", "string", pa.string()),
    "Key": ("key", "string", pa.string()),
    "VersionId": ("version_id", "string", pa.string()),
    "IsLatest": ("is_latest", "boolean", pa.bool_()),
    "IsDeleteMarker": ("is_delete_marker", "boolean", pa.bool_()),
    "Size": ("size", "bigint", pa.int64()),
    "LastModifiedDate": ("last_modified_date", "timestamp", pa.timestamp("ms")),
    "ETag": ("e_tag", "string", pa.string()),
}
PARQUET_TYPES = {
    "string": "binary {} (UTF8)",
    "boolean": "boolean {}",
    "bigint": "int64 {}",
    "timestamp": "int64 {} (TIMESTAMP_MILLIS)",
}
CURRENT = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag")
VERSIONED = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag")


@dataclass(frozen=True)
class Report:
    """An inventory of `bucket`, written below `inventory/` of the same bucket."""

    bucket: Bucket | MemoryS3
    file_format: str = "CSV"
    columns: tuple[str, ...] = CURRENT
    date: str = "2026-01-02T01-00Z"

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket.name}/inventory/{self.date}/manifest.json"

    def rows(self) -> list[dict[str, Any]]:
        """A row for every object of the bucket, as the inventory's columns are called in CSV."""
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name)
        return [
            {
                "Bucket": self.bucket.name,
                "Key": listed["Key"],
                "VersionId": "v1",
                "IsLatest": True,
                "IsDeleteMarker": False,
                "Size": listed["Size"],
                "LastModifiedDate": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None),
                "ETag": listed["ETag"].strip('"'),
            }
            for page in pages
            for listed in page.get("Contents", [])
        ]

    def write(
        self,
        rows: list[dict[str, Any]] | None = None,
        *,
        files: int = 2,
        listed: Mapping[str, bytes] | None = None,
        **changes: Any,
    ) -> str:
        """Write the files and their manifest, which also names `listed` files; return its address."""
        rows = self.rows() if rows is None else rows
        documents = dict(listed or {})
        for number in range(files):
            body = self._file(rows[number::files])
            key = f"inventory/data/{self.date}-{number}.{self.file_format.lower()}"
            self.bucket.put(key, body)
            documents[key] = body
        manifest = {
            "sourceBucket": self.bucket.name,
            "destinationBucket": f"arn:aws:s3:::{self.bucket.name}",
            "version": "2016-11-30",
            "creationTimestamp": "1767315600000",
            "fileFormat": self.file_format,
            "fileSchema": self._schema(),
            "files": [
                {"key": key, "size": len(body), "MD5checksum": hashlib.md5(body).hexdigest()}
                for key, body in documents.items()
            ],
            **changes,
        }
        self.bucket.put(self.uri.removeprefix(f"s3://{self.bucket.name}/"), json.dumps(manifest).encode())
        return self.uri

    def _schema(self) -> str:
        if self.file_format == "CSV":
            return ", ".join(self.columns)
        if self.file_format == "ORC":
            return f"struct<{','.join(f'{NAMES[name][0]}:{NAMES[name][1]}' for name in self.columns)}>"
        fields = (PARQUET_TYPES[NAMES[name][1]].format(NAMES[name][0]) for name in self.columns)
        return "message s3.inventory { " + " ".join(f"optional {field};" for field in fields) + " }"

    def _file(self, rows: list[dict[str, Any]]) -> bytes:
        if self.file_format == "CSV":
            text = io.StringIO()
            writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
            for row in rows:
                writer.writerow(_cell(name, row[name]) for name in self.columns)
            return gzip.compress(text.getvalue().encode())
        columns = {NAMES[name][0]: pa.array([row[name] for row in rows], NAMES[name][2]) for name in self.columns}
        sink = io.BytesIO()
        if self.file_format == "ORC":
            pyarrow.orc.write_table(pa.table(columns), sink)
        else:
            pq.write_table(pa.table(columns), sink)
        return sink.getvalue()


def _cell(name: str, value: Any) -> str:
    if name == "Key":
        return quote_plus(str(value), safe="/")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
