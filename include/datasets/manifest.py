"""The manifest: one row per source image, and what became of it.

Very many images are columns, of which objects are made a batch at a time.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from include.datasets.layout import Split
from include.datasets.source_image import SYSTEM, SourceImage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Row = TypeVar("Row")
BATCH_ROWS = 10_000
PLANNED = "planned"
PACKED = "packed"
DUPLICATE = "duplicate"
CONFLICT = "conflict"
EMPTY = "empty"
IGNORED = "ignored"
SKIPPED = "skipped"
NOT_ASKED = "not_asked"
UNLABELLED = "unlabelled"
REMOVED = "removed"
MISSING = "missing"
CHANGED = "changed"
JUDGED = frozenset({"corrupt", "not_an_image", "unsupported", "too_small", "too_large"})
"""What the bytes of an image alone decide: the next version does not read them again."""
BAD = JUDGED | {MISSING, CHANGED, CONFLICT, EMPTY}
"""Images that were meant to be packed and could not be."""
ACCOUNTED = JUDGED | {PACKED, DUPLICATE, CONFLICT, EMPTY}
"""Images that a version knows; of all others the next version knows nothing."""
NOT_MEANT = frozenset({DUPLICATE, IGNORED, SKIPPED, NOT_ASKED, SYSTEM, UNLABELLED, REMOVED})
"""Objects that were not to be packed: they do not count among a version's images."""
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
Places = npt.NDArray[np.int64]
"""Row numbers in a table; -1 stands for no row."""
COLUMNS = pa.schema([SCHEMA.field(name) for name in ("bucket", "key", "etag", "size", "labels", "split")])


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

    ``width`` and ``height`` are pixels as packed, ``offset`` is the record's first byte in its ``.rec``; what does not
    apply to a status is None.
    """

    bucket: str
    key: str
    etag: str
    size: int
    split: Split | None
    labels: tuple[str, ...]
    status: str
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
    def of(cls, image: SourceImage, status: str, reason: str | None = None, split: Split | None = None) -> ManifestRow:
        """Begin the row of a listed image."""
        return cls(image.bucket, image.key, image.etag, image.size, split, image.labels, status, reason)

    def failed(self, status: str, reason: str) -> ManifestRow:
        """Return the row of a planned image that could not be packed."""
        return replace(self, status=status, reason=reason, split=None, record_id=None, shard=None)


def to_table(rows: Iterable[ManifestRow]) -> pa.Table:
    """Lay rows out in the manifest's columns; of an iterator only a batch of rows is in memory at a time."""
    written = (
        pa.RecordBatch.from_pydict({name: [getattr(row, name) for row in batch] for name in SCHEMA.names}, SCHEMA)
        for batch in batches(rows)
    )
    return pa.Table.from_batches(written, SCHEMA)


def batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut rows into lists of ``BATCH_ROWS``."""
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        yield batch


def lay_out(table: pa.Table, **values: Any) -> pa.Table:
    """Give a table the manifest's columns: ``values`` are arrays, or one value for all rows; the rest is null."""
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
    """Return the addresses of a table's objects without ``s3://``, which tell them apart."""
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
    columns[names.index("labels")] = [tuple(labels) for labels in columns[names.index("labels")]]
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


class ImageTable:
    """Images in the order they were given; each takes about 150 bytes, where an object takes five hundred."""

    def __init__(self, columns: pa.Table) -> None:
        self.columns = columns.select(COLUMNS.names).combine_chunks()

    @classmethod
    def of(cls, images: Iterable[SourceImage]) -> Self:
        """Read images as they are listed."""
        listed = (
            pa.RecordBatch.from_pydict(
                {name: [getattr(image, name) for image in batch] for name in COLUMNS.names}, COLUMNS
            )
            for batch in batches(images)
        )
        return cls(pa.Table.from_batches(listed, COLUMNS))

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __iter__(self) -> Iterator[SourceImage]:
        label_sets: dict[tuple[str, ...], tuple[str, ...]] = {}
        for batch in self.columns.to_batches(BATCH_ROWS):
            cells: list[list[Any]] = [column.to_pylist() for column in batch.columns]
            for bucket, key, etag, size, labels, split in zip(*cells, strict=True):
                label_set = tuple(labels)
                yield SourceImage(bucket, key, etag, size, label_sets.setdefault(label_set, label_set), split)

    @property
    def uris(self) -> pa.ChunkedArray[Any]:
        """Addresses without ``s3://``."""
        return uris(self.columns)

    @property
    def etags(self) -> pa.ChunkedArray[Any]:
        """ETags, which tell content apart."""
        return self.columns["etag"]

    @property
    def label_sets(self) -> pa.ChunkedArray[Any]:
        """The classes of each image in one text."""
        return joined_labels(self.columns)

    @property
    def bytes(self) -> int:
        """Bytes of all objects."""
        return cast("int | None", pc.sum(self.columns["size"]).as_py()) or 0

    def take(self, places: Places) -> ImageTable:
        """Return the images at these places, in their order."""
        return ImageTable(self.columns.take(row_numbers(places)))

    def sorted(self, split_order: tuple[Split | None, ...]) -> ImageTable:
        """Return the images by the split that the source gives them, then by bucket and key."""
        rank = pc.index_in(self.columns["split"], value_set=pa.array(split_order, pa.string()))
        order: Any = [("rank", "ascending"), ("bucket", "ascending"), ("key", "ascending")]
        return self.take(np.asarray(pc.sort_indices(self.columns.append_column("rank", rank), sort_keys=order)))


class ImagesByContent(Mapping[str, SourceImage]):
    """Images of which each content is there once, by their ETag."""

    def __init__(self, images: ImageTable) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[str]:
        for batch in self.images.columns.to_batches(BATCH_ROWS):
            yield from cast("list[str]", batch["etag"].to_pylist())

    def __getitem__(self, etag: str) -> SourceImage:
        return next(iter(self.images.take(np.array([self._places[etag]]))))

    def items(self) -> ItemsView[str, SourceImage]:
        """Return pairs whose images are made a batch at a time."""
        return _Pairs(self)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {etag: place for place, etag in enumerate(self)}


class _Pairs(ItemsView[str, SourceImage]):
    def __init__(self, mapping: ImagesByContent) -> None:
        super().__init__(mapping)
        self._images = mapping.images

    def __iter__(self) -> Iterator[tuple[str, SourceImage]]:
        for image in self._images:
            yield image.etag, image


def row_numbers(places: Places) -> pa.Array[Any]:
    """Write places so that a table can be asked for them: -1 becomes null."""
    return pa.array(places.astype(np.int64), pa.int64(), mask=places < 0)


def mask(values: Any) -> npt.NDArray[np.bool_]:
    """Read what a comparison of columns gave; where there was nothing to compare it is false."""
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)


def joined_labels(table: pa.Table) -> pa.ChunkedArray[Any]:
    """Write the classes of each row, which stand in class order, as one text that tells label sets apart."""
    return cast("pa.ChunkedArray[Any]", pc.binary_join(table["labels"], "\x00"))
