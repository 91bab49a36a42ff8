"""The images that a parent version accounts for, and how a source differs from them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.manifest import (
    ACCOUNTED,
    BATCH_ROWS,
    JUDGED,
    PACKED,
    REMOVED,
    SCHEMA,
    ManifestRow,
    read_manifest,
    uris,
)
from include.datasets.planning.image_table import ImageTable, Places, joined_labels, mask, row_numbers
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COLUMNS = ["bucket", "key", "etag", "size", "split", "labels", "status", "reason", "record_id"]


class ParentImages:
    """A parent's manifest by address and by content; without a parent it has no rows."""

    def __init__(self, rows: pa.Table | None = None) -> None:
        rows = SCHEMA.empty_table() if rows is None else rows
        # Newest first: where a version of old keeps both of an object and its replacement, the replacement counts.
        self.rows = rows.select(COLUMNS).take(row_numbers(np.arange(rows.num_rows)[::-1])).combine_chunks()

    @classmethod
    def of(cls, s3: S3Client, version: DatasetVersion) -> ParentImages:
        """Read a version's manifest."""
        return cls(read_manifest(s3, version.layout.bucket, version.layout.manifest, COLUMNS))

    @cached_property
    def uris(self) -> pa.ChunkedArray[Any]:
        """Addresses without ``s3://``."""
        return uris(self.rows)

    @cached_property
    def label_sets(self) -> pa.ChunkedArray[Any]:
        """The classes of each image in one text."""
        return joined_labels(self.rows)

    @property
    def packed(self) -> Places:
        """Rows of images with a record."""
        return self.with_status(PACKED)

    @property
    def accounted(self) -> Places:
        """Rows of images that were packed, or told why not once and for all."""
        return self.with_status(*ACCOUNTED)

    def with_status(self, *statuses: str) -> Places:
        """Rows with one of these statuses."""
        return np.flatnonzero(mask(pc.is_in(self.rows["status"], value_set=pa.array(sorted(statuses)))))

    def settled(self, etags: Any) -> Places:
        """For each content the row that packed it, or says what is wrong with its bytes."""
        return _find(etags, self.rows["etag"], self.with_status(PACKED, *JUDGED))

    def vanished(self, *present: pa.Table) -> Places:
        """Rows of accounted images whose address stands in none of the tables."""
        rows = self.accounted
        if not len(rows):
            return rows
        there = pa.chunked_array([chunk for table in present for chunk in uris(table).chunks], pa.string())
        return rows[~mask(pc.is_in(self.uris.take(row_numbers(rows)), value_set=there))]

    def has_lost(self, objects: pa.Table) -> npt.NDArray[np.bool_]:
        """Tell of absent objects whether the parent accounted for them, whatever they held, or told they are gone."""
        return self._by_uri(objects, self.with_status(*ACCOUNTED, REMOVED)) >= 0

    def gone_before(self, absent: pa.Table) -> Places:
        """Rows of images that were removed, and whose address stands in the table all the same."""
        rows = self.with_status(REMOVED)
        return rows[mask(pc.is_in(self.uris.take(row_numbers(rows)), value_set=uris(absent)))] if len(rows) else rows

    def is_known(self, images: ImageTable) -> npt.NDArray[np.bool_]:
        """Tell of each image whether an object of its address and content was accounted for."""
        return self.agree(self._by_uri(images.columns, self.accounted), images.etags, self.rows["etag"])

    def splits_had(self, images: ImageTable) -> pa.ChunkedArray[Any]:
        """For each image the split its content had, else that of another image under its key, else null."""
        had_split = self.with_status(PACKED, REMOVED)
        by_content = self.rows["split"].take(row_numbers(_find(images.etags, self.rows["etag"], had_split)))
        by_key = self.rows["split"].take(row_numbers(self._by_uri(images.columns, had_split)))
        return pc.coalesce(by_content, by_key)

    def manifest_rows(self, places: Places) -> Iterator[ManifestRow | None]:
        """Return what the manifest says in these rows, None for -1."""
        wanted = self.take(places)
        for batch in wanted.to_batches(BATCH_ROWS):
            for cells in batch.to_pylist():
                yield ManifestRow(**cells | {"labels": tuple(cells["labels"])}) if cells["status"] else None

    def take(self, places: Places) -> pa.Table:
        """Return these rows; of -1 all cells are null."""
        return self.rows.take(row_numbers(places))

    def agree(self, places: Places, wanted: Any, column: Any) -> npt.NDArray[np.bool_]:
        """Tell where a row's cell is the one wanted; there is none where there is no row."""
        return mask(pc.equal(column.take(row_numbers(places)), wanted))

    def _by_uri(self, objects: pa.Table, rows: Places) -> Places:
        return _find(uris(objects), self.uris, rows) if len(rows) else np.full(objects.num_rows, -1)


def _find(values: Any, column: Any, rows: Places) -> Places:
    """Return for each value the first of the rows whose cell it is."""
    found = np.asarray(pc.fill_null(pc.index_in(values, value_set=column.take(row_numbers(rows))), -1), dtype=np.int64)
    return np.where(found < 0, -1, np.append(rows, -1)[found])
