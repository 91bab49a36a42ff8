"""The record files of a version: composed on the server of the parent's records and the new shards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import SPLITS, Split
from include.datasets.manifest import BATCH_ROWS, SCHEMA, read_manifest
from include.datasets.multipart import ByteRange, compose
from include.datasets.packing.shard import ShardResult
from include.datasets.source_image import Status
from include.datasets.version import DatasetVersion, VersionPlan
from include.recordio.format import index_line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class InheritedRecords:
    """Manifest rows of the records, with their offsets in the new version, and the parent's bytes that hold them."""

    rows: pa.Table
    ranges: dict[Split, list[ByteRange]]

    def size(self, split: Split) -> int:
        """Bytes at the beginning of a channel's `.rec`."""
        return sum(piece.size for piece in self.ranges[split])


def inherit_records(s3: S3Client, plan: VersionPlan, parent: DatasetVersion | None) -> InheritedRecords:
    """Work out what a planned version takes from its parent; without a parent that is nothing."""
    if parent is None:
        return InheritedRecords(SCHEMA.empty_table(), {split: [] for split in SPLITS})
    packed = read_manifest(s3, parent.layout.bucket, parent.layout.manifest)
    packed = packed.filter(pc.field("status") == Status.PACKED)
    changed = read_manifest(s3, plan.bucket, plan.layout.changed_records)
    moved, cut = (
        changed.filter(pc.field("status") == Status.PACKED),
        changed.filter(pc.field("status") != Status.PACKED),
    )
    kept: list[pa.Table] = []
    ranges: dict[Split, list[ByteRange]] = {}
    for split in SPLITS:
        records = packed.filter(pc.field("split") == split).sort_by("offset")
        size = _size(s3, parent, split)
        stays = ~np.asarray(pc.is_in(records["record_id"], value_set=cut["record_id"]))
        offsets, stretches = cut_out(np.asarray(records["offset"]), size, stays)
        kept.append(_replace(records.filter(pa.array(stays)), "offset", pa.array(offsets)))
        ranges[split] = [ByteRange(parent.layout.records(split), start, end) for start, end in stretches]
    return InheritedRecords(_renamed(pa.concat_tables(kept), moved), ranges)


def channel_ranges(
    plan: VersionPlan, inherited: InheritedRecords, results: Sequence[ShardResult]
) -> dict[Split, list[ByteRange]]:
    """The bytes that each channel's `.rec` is made of: the parent's first, then the new shards in their order."""
    channels = {split: list(ranges) for split, ranges in inherited.ranges.items()}
    for result in results:
        channels[result.split].append(ByteRange(plan.layout.packed_shard(result.index), 0, result.bytes))
    return channels


def write_channel(
    s3: S3Client, plan: VersionPlan, split: Split, ranges: Sequence[ByteRange], manifest: pa.Table
) -> None:
    """Compose a channel's `.rec` and write its `.idx`; nothing for a channel without records."""
    layout = plan.layout
    if not compose(s3, layout.bucket, layout.records(split), ranges, scratch=layout.joined(split)):
        return
    records = manifest.select(["split", "status", "record_id", "offset"])
    records = records.filter((pc.field("status") == Status.PACKED) & (pc.field("split") == split)).sort_by("offset")
    index = io.BytesIO()
    for batch in records.to_batches(BATCH_ROWS):
        places = zip(*(cast("list[int]", batch[name].to_pylist()) for name in ("record_id", "offset")), strict=True)
        index.writelines(index_line(record_id, offset) for record_id, offset in places)
    index.seek(0)
    s3.put_object(Bucket=layout.bucket, Key=layout.index(split), Body=index)


def cut_out(
    offsets: npt.NDArray[np.int64], size: int, stays: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
    """Where the staying records begin once the others are cut out, and the stretches of bytes that stay.

    `offsets` are those of all records in ascending order, `size` is that of the file they fill.
    """
    ends = np.append(offsets[1:], size)[: len(offsets)]
    lengths = np.where(stays, ends - offsets, 0)
    moved = (np.cumsum(lengths) - lengths)[stays]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stays, [False]]).astype(np.int8)))
    stretches = [(int(offsets[first]), int(ends[last - 1])) for first, last in edges.reshape(-1, 2)]
    return moved.astype(np.int64), stretches


def _renamed(rows: pa.Table, moved: pa.Table) -> pa.Table:
    """Give records that stand for another object than before the names of that object."""
    places = pc.index_in(rows["record_id"], value_set=moved["record_id"])
    for name in ("bucket", "key"):
        rows = _replace(rows, name, pc.coalesce(moved[name].take(places), rows[name]))
    return rows


def _replace(table: pa.Table, name: str, column: pa.Array[Any] | pa.ChunkedArray[Any]) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _size(s3: S3Client, version: DatasetVersion, split: Split) -> int:
    if not version.count(split):
        return 0
    return s3.head_object(Bucket=version.layout.bucket, Key=version.layout.records(split))["ContentLength"]
