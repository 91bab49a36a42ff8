"""``manifest.json`` of an S3 Inventory: of which bucket it is, where its files lie, what their columns are.

Source: Amazon S3 User Guide, "Locating your inventory list".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.datasets.errors import DatasetError
from include.datasets.text_document import read_document

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FIELD = "dataset.inventory"
NEEDED = {"key": "Key", "size": "Size", "etag": "ETag"}
"""Columns that a listing needs, and the names under which S3's console offers the optional ones."""

FileFormat = Literal["CSV", "Parquet", "ORC"]
COLUMN_NAMES = {
    "CSV": re.compile(r"\w+"),
    "Parquet": re.compile(r"(?<=\s)\w+(?=\s*(?:\(\w+\))?\s*;)"),
    "ORC": re.compile(r"\w+(?=:)"),
}
"""How the names of the columns stand in a manifest's schema."""


class InventoryFile(BaseModel):
    """One file of an inventory; ``md5`` in hexadecimal digits."""

    model_config = ConfigDict(frozen=True)

    key: str
    md5: str = Field(alias="MD5checksum")


class InventoryManifest(BaseModel):
    """``manifest.json``, as far as it is read."""

    model_config = ConfigDict(frozen=True)

    source_bucket: str = Field(alias="sourceBucket")
    destination_bucket: str = Field(alias="destinationBucket")
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


def read_manifest(s3: S3Client, uri: str) -> InventoryManifest:
    """Read a manifest. Raises DatasetError where it is none, or where its files lack a column that a listing needs."""
    try:
        manifest = InventoryManifest.model_validate_json(read_document(s3, FIELD, uri))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise DatasetError(
            f"{FIELD} {uri} is no manifest of an S3 Inventory ({wrong}): name its manifest.json"
        ) from error
    lacking = [shown for name, shown in NEEDED.items() if manifest.column(name) is None]
    if lacking:
        raise DatasetError(
            f"{FIELD} {uri} has no {' and no '.join(lacking)} (it has {', '.join(manifest.columns) or 'no columns'}): "
            f"enable the optional fields {' and '.join(lacking)} in the bucket's inventory configuration, and name the "
            "manifest.json of the next report"
        )
    return manifest
