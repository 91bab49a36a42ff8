"""A listing from an S3 Inventory: the report that S3 writes of a bucket every day or week.

Source: Amazon S3 User Guide, "Locating your inventory list" and "Amazon S3 Inventory list" (manifest, fields, formats).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.errors import DatasetError
from include.datasets.sources.inventory_report import FIELD, read_inventory_manifest, read_objects
from include.datasets.sources.listing import SCHEMA, ArchivedObjects, Folder, ListedObject, ObjectTable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


class Inventory:
    """The objects of `bucket` as an inventory lists them: no request for a listing, and no newer object.

    Of an inventory of all versions the latest ones count, without those that are deleted. Its files are read where they
    are needed, one pass for all prefixes under the first that is asked for, one for each `find`; memory holds what
    was asked for. Raises DatasetError for an inventory of another bucket, without size or ETag, that cannot be read,
    or whose files are not those that S3 wrote.
    """

    def __init__(self, s3: S3Client, uri: str, bucket: str, archived: ArchivedObjects | None = None) -> None:
        self._archived = ArchivedObjects() if archived is None else archived
        self._s3, self._uri = s3, uri
        self._manifest = read_inventory_manifest(s3, uri)
        self._lock = threading.Lock()
        self._root: str | None = None
        self._table = ObjectTable.of(())
        self.bucket = self._manifest.source_bucket
        if self.bucket != bucket:
            raise DatasetError(
                f"{FIELD} {uri} lists bucket {self.bucket}, but the images lie in {bucket}: name the manifest.json of "
                "that bucket's inventory, or leave the field empty to list the bucket"
            )

    def folder(self, prefix: str) -> Folder:
        """What stands right under a prefix."""
        return self._under(prefix).folder(prefix)

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix."""
        return self._under(prefix).objects(prefix)

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Those of the keys that the inventory has."""
        wanted = pa.array(keys if isinstance(keys, list) else list(keys), pa.large_string())
        found: dict[str, ListedObject] = {}
        for batch in self._batches():
            rows = batch.filter(pc.is_in(batch["key"], value_set=wanted))
            for key, etag, size in zip(*(rows[name].to_pylist() for name in SCHEMA.names), strict=True):
                found[key] = ListedObject(key, etag, size)
        return found

    def sample(self, prefix: str, count: int) -> list[str]:
        """The first keys under a prefix, in the order of the inventory's files."""
        keys: list[str] = []
        for batch in self._batches():
            keys += cast("list[str]", batch.filter(pc.starts_with(batch["key"], prefix))["key"].to_pylist())
            if len(keys) >= count:
                break
        return keys[:count]

    def absent(self, prefix: str) -> Iterator[str]:  # noqa: ARG002  (an object that is gone since is found when it is read)
        """Nothing."""
        return iter(())

    def unmatched(self) -> str:
        """Nothing: what is gone since is found when it is read."""
        return ""

    def _under(self, prefix: str) -> ObjectTable:
        with self._lock:
            if self._root is None or not prefix.startswith(self._root):
                batches = (batch.filter(pc.starts_with(batch["key"], prefix)) for batch in self._batches())
                self._table = ObjectTable(pa.Table.from_batches(batches, SCHEMA))
                self._root = prefix
                log.info("%s lists %s objects under %s", self._uri, len(self._table), prefix or self.bucket)
            return self._table

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for file in self._manifest.files:
            yield from read_objects(self._s3, self._manifest, file, self._archived)
