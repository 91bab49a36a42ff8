"""``manifest.json`` of an S3 Inventory: of which bucket it is, where its files lie, what their columns are.

Source: Amazon S3 User Guide, "Locating your inventory list".
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.sources.text_document import read_document

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

FIELD = "dataset.inventory"
NEEDED = {"key": "Key", "size": "Size", "etag": "ETag"}
"""Columns that a listing needs, and the names under which S3's console offers the optional ones."""

BUCKET_NAME = "[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}"

FileFormat = Literal["CSV", "Parquet", "ORC"]
COLUMN_NAMES = {
    "CSV": re.compile(r"\w+"),
    "Parquet": re.compile(r"(?<=\s)\w+(?=\s*(?:\(\w+\)\s*)?;)"),
    "ORC": re.compile(r"\w+(?=:)"),
}
"""How the names of the columns stand in a manifest's schema."""

REPORT = re.compile(r"(?P<reports>s3://.*/)(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\dZ)/manifest\.json")
"""Where S3 puts the manifests of one inventory."""


class InventoryFile(BaseModel):
    """One file of an inventory; ``md5`` in hexadecimal digits."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(min_length=1, max_length=1024)
    md5: str = Field(alias="MD5checksum")


class InventoryManifest(BaseModel):
    """``manifest.json``, as far as it is read."""

    model_config = ConfigDict(frozen=True)

    source_bucket: str = Field(alias="sourceBucket")
    destination_bucket: str = Field(alias="destinationBucket", pattern=rf"^(arn:aws[a-z-]*:s3:::)?{BUCKET_NAME}$")
    file_format: FileFormat = Field(alias="fileFormat")
    file_schema: str = Field(alias="fileSchema")
    files: list[InventoryFile]

    @property
    def bucket(self) -> str:
        """The bucket in which the files lie."""
        return self.destination_bucket.rpartition(":")[2]

    @property
    def columns(self) -> list[str]:
        """The columns of the files, in order, by the names they have there."""
        return COLUMN_NAMES[self.file_format].findall(self.file_schema)

    def column(self, name: str) -> str | None:
        """Return the file's own name of a column: ``is_latest`` and ``IsLatest`` are both ``islatest``."""
        return next((column for column in self.columns if column.replace("_", "").lower() == name), None)


def newest_report(s3: S3Client, uri: str) -> str:
    """Return the manifest of the newest report of an inventory, by the dates of the folders beside that of ``uri``.

    It is ``uri`` itself where the address is none of S3's own, nothing newer is there, or the role may not list it.
    """
    dated = REPORT.fullmatch(uri)
    if dated is None:
        return uri
    bucket, prefix = parse_s3_uri(dated["reports"])
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter="/", StartAfter=f"{prefix}{dated['date']}/"
        )
        folders = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        for folder in sorted(folders, reverse=True):
            newer = f"s3://{bucket}/{folder}manifest.json"
            listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}manifest.json", MaxKeys=1)
            if newer > uri and REPORT.fullmatch(newer) and listed["KeyCount"]:
                return newer
    except ClientError as error:
        logger.warning("Whether there is a newer report than %s cannot be told: %s", uri, error)
    return uri


def read_manifest(s3: S3Client, uri: str) -> InventoryManifest:
    """Read a manifest. Raises DatasetError where it is none, or where its files lack a column that a listing needs."""
    try:
        manifest = InventoryManifest.model_validate_json(read_document(s3, FIELD, uri))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise DatasetError(
            f"{FIELD} {uri} is no manifest of an S3 Inventory ({wrong}): name its manifest.json"
        ) from error
    repeated = sorted({column for column in manifest.columns if manifest.columns.count(column) > 1})
    if repeated:
        raise DatasetError(
            f"{FIELD} {uri} has the column {', '.join(repeated[:5])} more than once: name the manifest.json that S3 "
            "wrote"
        )
    lacking = [shown for name, shown in NEEDED.items() if manifest.column(name) is None]
    if lacking:
        raise DatasetError(
            f"{FIELD} {uri} has no {' and no '.join(lacking)} (it has {', '.join(manifest.columns) or 'no columns'}): "
            f"enable the optional fields {' and '.join(lacking)} in the bucket's inventory configuration, and name the "
            "manifest.json of the next report"
        )
    return manifest
