"""A listing from an S3 Inventory: the report that S3 writes of a bucket every day or week.

A report is a `manifest.json` and files, CSV, Parquet or ORC, which are read as batches of objects. Keys are URL-encoded
in CSV only, where a space is a plus. Source: Amazon S3 User Guide, "Locating your inventory list" and "Amazon S3
Inventory list" (manifest, fields, formats).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import re
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from typing import IO, TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.orc
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.datasets.errors import STORAGE_CLASSES, DatasetError, reading_foreign_bytes
from include.datasets.labels import open_parquet, plain_texts, read_document, unread
from include.datasets.layout import parse_s3_uri
from include.datasets.sources.listing import SCHEMA, ArchivedObjects, Folder, ListedObject, ObjectTable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

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
TIERS = ("storageclass", "intelligenttieringaccesstier")
"""Optional fields that say whether an object has to be restored before it can be read."""
BATCH_ROWS = 50_000
CHUNK_BYTES = 1 << 20
LONGEST_CELL = 4096
"""Bytes of a text; a key has at most 1,024, three times as many where it is percent-encoded."""
SPOOLED_BYTES = 64 << 20
"""Parquet and ORC are read from their ends: a larger file waits on disk."""


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
        self._manifest = _read_manifest(s3, uri)
        self._lock = threading.Lock()
        self._root: str | None = None
        self._table = ObjectTable.of(())
        self.bucket = self._manifest.source_bucket
        if self.bucket != bucket:
            raise DatasetError(
                f"{FIELD} {uri} lists bucket {self.bucket}, but the images are in {bucket}: name the manifest.json of "
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
            yield from _read_objects(self._s3, self._manifest, file, self._archived)


class InventoryFile(BaseModel):
    """One file of an inventory; `md5` in hexadecimal digits."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(min_length=1, max_length=1024)
    md5: str = Field(alias="MD5checksum")


class InventoryManifest(BaseModel):
    """`manifest.json`, as far as it is read."""

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
        """The file's own name of a column: `is_latest` and `IsLatest` are both `islatest`."""
        return next((column for column in self.columns if column.replace("_", "").lower() == name), None)


def newest_report(s3: S3Client, uri: str) -> str:
    """The manifest of the newest report of an inventory, by the dates of the folders beside that of `uri`.

    It is `uri` itself where the address is none of S3's own, nothing newer is there, or the role may not list it.
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
        log.warning("It is not known whether there is a newer report than %s: %s", uri, error)
    return uri


def _read_manifest(s3: S3Client, uri: str) -> InventoryManifest:
    """Read a manifest. Raises DatasetError if it is none, or where its files lack a column that a listing needs."""
    try:
        manifest = InventoryManifest.model_validate_json(read_document(s3, FIELD, uri))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise DatasetError(
            f"{FIELD} {uri} is not a manifest of an S3 Inventory ({wrong}): name its manifest.json"
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


class _CheckedStream(io.RawIOBase):
    """Reads a body once and has its MD5."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._digest = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        """It reads."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes, none at the end."""
        data = self._body.read(len(buffer))
        self._digest.update(data)
        buffer[: len(data)] = data
        return len(data)

    def md5(self) -> str:
        """Read what is left; return the MD5 of the whole body in hexadecimal digits."""
        while self.read(CHUNK_BYTES):
            pass
        return self._digest.hexdigest()


def _read_objects(
    s3: S3Client, manifest: InventoryManifest, file: InventoryFile, archived: ArchivedObjects | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the objects of a file, in batches of `SCHEMA`: of several versions the latest, and no delete markers.

    Raises DatasetError where the file is not there, is damaged, or is not the one S3 wrote: at its end at the latest.
    """
    uri = f"s3://{manifest.bucket}/{file.key}"
    try:
        body = s3.get_object(Bucket=manifest.bucket, Key=file.key)["Body"]
    except ClientError as error:
        raise unread(FIELD, uri, error) from error
    stream = _CheckedStream(body)
    with body:
        with reading_foreign_bytes(lambda reason: _unreadable(uri, reason)):
            for batch in READERS[manifest.file_format](stream, manifest):
                current = _current_rows(uri, batch, manifest)
                if archived is not None:
                    _see_archived(current, manifest, archived)
                yield _objects(uri, current, manifest)
        if stream.md5() != file.md5.lower():
            raise DatasetError(
                f"{FIELD}: {uri} has another MD5 than in the manifest: it was changed after S3 wrote it; name the "
                "next report's manifest"
            )


def _unreadable(uri: str, reason: str) -> DatasetError:
    return DatasetError(f"{FIELD}: {uri} cannot be read ({reason}): name the next report's manifest")


def _csv(stream: _CheckedStream, manifest: InventoryManifest) -> Iterator[pa.RecordBatch]:
    columns = _wanted(manifest)
    reader = pyarrow.csv.open_csv(
        cast("IO[bytes]", gzip.GzipFile(fileobj=io.BufferedReader(stream, CHUNK_BYTES))),
        read_options=pyarrow.csv.ReadOptions(column_names=manifest.columns, block_size=CHUNK_BYTES),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.string())
        ),
    )
    key = cast(str, manifest.column("key"))
    for batch in reader:
        yield batch.set_column(batch.schema.get_field_index(key), key, _decoded(cast(pa.StringArray, batch[key])))


def _decoded(keys: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(keys, "[%+]")).as_py():
        return keys
    return pa.array([unquote_plus(key, errors="strict") for key in cast("list[str]", keys.to_pylist())], pa.string())


def _parquet(stream: _CheckedStream, manifest: InventoryManifest) -> Iterator[pa.RecordBatch]:
    with _spooled(stream) as file:
        for batch in open_parquet(file).iter_batches(BATCH_ROWS, columns=_wanted(manifest)):
            yield plain_texts(batch, LONGEST_CELL)


def _orc(stream: _CheckedStream, manifest: InventoryManifest) -> Iterator[pa.RecordBatch]:
    with _spooled(stream) as file:
        orc = pyarrow.orc.ORCFile(file)
        for stripe in range(orc.nstripes):
            yield orc.read_stripe(stripe, columns=_wanted(manifest))


def _spooled(stream: _CheckedStream) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115  (who reads it closes it)
    while chunk := stream.read(CHUNK_BYTES):
        file.write(chunk)
    file.seek(0)
    return cast("IO[bytes]", file)


READERS: dict[str, Callable[[_CheckedStream, InventoryManifest], Iterator[pa.RecordBatch]]] = {
    "CSV": _csv,
    "Parquet": _parquet,
    "ORC": _orc,
}


def _wanted(manifest: InventoryManifest) -> list[str]:
    names = ("key", "size", "etag", "islatest", "isdeletemarker", *TIERS)
    return [column for name in names if (column := manifest.column(name)) is not None]


def _current_rows(uri: str, batch: pa.RecordBatch, manifest: InventoryManifest) -> pa.RecordBatch:
    absent = [column for column in _wanted(manifest) if column not in batch.schema.names]
    if absent:
        raise _unreadable(uri, f"it has no column {', '.join(absent)}, which the manifest names")
    for name, wanted in (("islatest", "true"), ("isdeletemarker", "false")):
        column = manifest.column(name)
        if column is not None:
            flags = pc.utf8_lower(cast(pa.StringArray, batch[column].cast(pa.string())))
            batch = batch.filter(pc.equal(flags, pa.scalar(wanted)))
    return batch


def _see_archived(batch: pa.RecordBatch, manifest: InventoryManifest, archived: ArchivedObjects) -> None:
    """Take note of the rows whose storage class, or tier in Intelligent-Tiering, is one of an archive."""
    key = cast(str, manifest.column("key"))
    for name in TIERS:
        column = manifest.column(name)
        if column is None:
            continue
        classes = batch[column].cast(pa.string())
        found = pc.is_in(classes, value_set=pa.array(list(STORAGE_CLASSES), pa.string()))
        rows = zip(batch[key].filter(found).to_pylist(), classes.filter(found).to_pylist(), strict=True)
        for each, storage_class in rows:
            archived.see(manifest.source_bucket, cast(str, each), storage_class)


def _objects(uri: str, batch: pa.RecordBatch, manifest: InventoryManifest) -> pa.RecordBatch:
    key, etag, size = (batch[cast(str, manifest.column(name))] for name in ("key", "etag", "size"))
    columns = zip((key, etag, size), SCHEMA.types, strict=True)
    objects = pa.RecordBatch.from_arrays([column.cast(kind) for column, kind in columns], schema=SCHEMA)
    objects.validate(full=True)  # a string of another encoding than UTF-8 fails only when it is read
    for name in SCHEMA.names:
        if objects[name].null_count:
            raise _unreadable(uri, f"it has rows without {name}")
    if (pc.min(objects["size"]).as_py() or 0) < 0:
        raise _unreadable(uri, "it has rows with a size below 0")
    return objects
