"""The manifest: one row per source image, and what became of it."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.datasets.layout import Split
from include.datasets.source_image import SourceImage, Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Row = TypeVar("Row")
BATCH_ROWS = 10_000
_COLUMNS: list[pa.Field[Any]] = [
    pa.field("bucket", pa.string()),
    pa.field("key", pa.string()),
    pa.field("etag", pa.string()),
    pa.field("size", pa.int64()),
    pa.field("split", pa.string()),
    pa.field("labels", pa.list_(pa.string())),
    pa.field("status", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("record_id", pa.int64()),
    pa.field("shard", pa.string()),
    pa.field("offset", pa.int64()),
]
SCHEMA = pa.schema(_COLUMNS)
REPEATED: Any = ["bucket", "split", "labels.list.element", "status", "reason", "width", "height", "shard"]
"""Columns with few values, which Parquet writes as a dictionary; of the others it would be larger than they are."""


class _NoPandas:
    """Among the finders of modules one that finds no pandas.

    pyarrow looks for it before the first array of Python values, and loading it takes as long as packing hundreds of
    images, and 60 MB, in every process of a build. Where something is to become a pandas object pyarrow looks again.
    """

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Leave all other modules to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A source image: where it was, which split and labels it has, and what became of it.

    `width` and `height` are pixels as packed, `offset` is the record's first byte in its `.rec`; what does not
    apply to a status is None.
    """

    bucket: str
    key: str
    etag: str
    size: int
    split: Split | None
    labels: tuple[str, ...]
    status: Status
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    record_id: int | None = None
    shard: str | None = None
    offset: int | None = None

    @property
    def uri(self) -> str:
        """The source object's address."""
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def of(
        cls, image: SourceImage, status: Status, reason: str | None = None, split: Split | None = None
    ) -> ManifestRow:
        """Begin the row of a listed image."""
        return cls(image.bucket, image.key, image.etag, image.size, split, image.labels, status, reason)

    def failed(self, status: Status, reason: str) -> ManifestRow:
        """The row of a planned image that could not be packed."""
        return replace(self, status=status, reason=reason, split=None, record_id=None, shard=None)


def to_table(rows: Iterable[ManifestRow]) -> pa.Table:
    """Lay rows out in the manifest's columns; of an iterator only a batch of rows is in memory at a time."""
    written = (
        pa.RecordBatch.from_pydict({name: [getattr(row, name) for row in batch] for name in SCHEMA.names}, SCHEMA)
        for batch in batches(rows)
    )
    return pa.Table.from_batches(written, SCHEMA)


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into lists of `BATCH_ROWS`."""
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        yield batch


def lay_out(table: pa.Table, **values: Any) -> pa.Table:
    """Give a table the manifest's columns: `values` are arrays, or one value for all rows; the rest is null."""
    columns: list[Any] = []
    for field in _COLUMNS:
        if field.name in values:
            given = values[field.name]
            whole = isinstance(given, pa.Array | pa.ChunkedArray)
            columns.append(given if whole else pa.repeat(pa.scalar(given, field.type), table.num_rows))
        elif field.name in table.column_names:
            columns.append(table.column(field.name))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=SCHEMA)


def uris(table: pa.Table) -> pa.ChunkedArray[Any]:
    """The addresses of a table's objects without `s3://`, which tell them apart."""
    parts: list[Any] = [table["bucket"], table["key"], "/"]
    return cast("pa.ChunkedArray[Any]", pc.binary_join_element_wise(*parts))


def class_counts(table: pa.Table) -> dict[str, Counter[Split]]:
    """Count the rows of each class by their split; a row of several classes counts for each."""
    pairs = pa.table(
        {
            "label": pc.list_flatten(table["labels"]),
            "split": table["split"].take(pc.list_parent_indices(table["labels"])),
        }
    )
    counts: dict[str, Counter[Split]] = {}
    for pair in pairs.group_by(["label", "split"]).aggregate([([], "count_all")]).to_pylist():
        counts.setdefault(pair["label"], Counter())[pair["split"]] = pair["count_all"]
    return counts


def without_labels(table: pa.Table) -> pa.Table:
    """The rows of images that show none of the labels."""
    return table.filter(np.asarray(pc.list_value_length(table["labels"])) == 0)


def to_rows(table: pa.Table) -> list[ManifestRow]:
    """Read rows back out of a table with all of the manifest's columns."""
    names = [field.name for field in fields(ManifestRow)]
    columns: list[Sequence[Any]] = [table.column(name).to_pylist() for name in names]
    for name, kind in (("labels", tuple), ("status", Status)):
        columns[names.index(name)] = [kind(cell) for cell in columns[names.index(name)]]
    return [ManifestRow(*values) for values in zip(*columns, strict=True)]


def write_manifest(s3: S3Client, bucket: str, key: str, table: pa.Table) -> None:
    """Store a table as one Parquet object; the same rows give the same bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=REPEATED)
    sink.seek(0)
    s3.put_object(Bucket=bucket, Key=key, Body=sink, ContentType="application/vnd.apache.parquet")


def read_manifest(s3: S3Client, bucket: str, key: str, columns: list[str] | None = None) -> pa.Table:
    """Load a Parquet object, or only some of its columns."""
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    # Not read_table, which loads pyarrow's datasets.
    return pq.ParquetFile(io.BytesIO(body)).read(columns=columns)
