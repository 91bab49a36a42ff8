"""Publish a version: one `.rec` per channel composed on the server, and `dataset.json` last.

A channel's records are those of the parent, and those of the new shards behind them. Here the bad images are counted:
too many of them and nothing is published. `packed.txt` and `not-packed.txt` list every image for people and their
scripts. What a build leaves beside its version (plan, shards, open uploads) is removed.
"""

from __future__ import annotations

import io
import json
import logging
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as library_version
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from include.datasets.dataset_page import write_report
from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS, Split, VersionLayout
from include.datasets.manifest import BATCH_ROWS, SCHEMA, class_counts, read_manifest, without_labels, write_manifest
from include.datasets.objects import ByteRange, ObjectSink, compose
from include.datasets.packing import ShardResult
from include.datasets.source_image import BAD, NOT_MEANT, Status
from include.datasets.version import DatasetVersion, MeanImage, SplitCounts, VersionPlan, find, load
from include.recordio.format import FRAME_SIZE, encode_image_record, index_line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

EXAMPLES = 10
LIBRARIES = ("opencv-python-headless", "numpy", "pyarrow", "obstore")
TEXT = "text/plain; charset=utf-8"
ABANDONED_AFTER = timedelta(days=7)
"""Longer than any build takes: an unfinished upload of a run before that is nobody's any more."""


def publish_version(s3: S3Client, plan: VersionPlan, results: Sequence[ShardResult]) -> DatasetVersion:
    """Compose the packed shards into a version; publishing twice returns the same one.

    The parent's records come first, copied on the server, then the new shards in their order. Raises DatasetError if
    a shard is missing, or more than `max_bad_fraction` of the version's images are bad: nothing is published then.
    """
    layout = plan.layout
    published = find(s3, layout)
    if published is None:
        _check_all_shards_are_packed(plan, results)
        results = sorted(results, key=lambda result: result.index)
        parent = load(s3, plan.parent) if plan.parent else None
        inherited = inherit_records(s3, plan, parent)
        manifest = _manifest(s3, plan, inherited, results)
        _check_bad_fraction(plan, manifest)
        channels = channel_ranges(plan, inherited, results)
        version = _describe(plan, manifest, channels)
        _write_files(s3, plan, channels, manifest)
        write_report(s3, version, manifest, parent)
        published = _put_document(s3, version)
    remove_working_files(s3, layout)
    log.info("Published %s: %s. Its page: s3://%s/%s", published.uri, published.counts, layout.bucket, layout.report)
    return published


def remove_working_files(s3: S3Client, layout: VersionLayout) -> int:
    """Remove a version's plan and shards and abort its uploads; returns the number of objects removed.

    Uploads of other versions of the dataset are aborted if both the run and the upload began more than
    `ABANDONED_AFTER` ago.
    """
    _abort_uploads(s3, layout, before=datetime.now(UTC) - ABANDONED_AFTER)
    removed = 0
    for prefix in (layout.plan, layout.shards):
        for listing in s3.get_paginator("list_objects_v2").paginate(Bucket=layout.bucket, Prefix=prefix):
            keys = [listed["Key"] for listed in listing.get("Contents", [])]
            if keys:
                s3.delete_objects(
                    Bucket=layout.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
                )
            removed += len(keys)
    return removed


def _check_all_shards_are_packed(plan: VersionPlan, results: Sequence[ShardResult]) -> None:
    packed = {(result.index, result.fingerprint) for result in results}
    missing = [shard.index for shard in plan.shards if (shard.index, shard.fingerprint) not in packed]
    if missing or len(results) != len(plan.shards):
        raise DatasetError(
            f"{plan.layout.uri} has {len(plan.shards)} planned shards and {len(results)} packed ones, without "
            f"{missing or 'any missing'}: clear the packing tasks; shards that are packed already are reused"
        )


def _manifest(s3: S3Client, plan: VersionPlan, inherited: InheritedRecords, results: Sequence[ShardResult]) -> pa.Table:
    layout = plan.layout
    tables = [inherited.rows]
    ends = {split: inherited.size(split) for split in SPLITS}
    for result in results:
        part = read_manifest(s3, layout.bucket, layout.shard_manifest(result.index))
        moved = pc.add(part["offset"], pa.scalar(ends[result.split], pa.int64()))
        tables.append(part.set_column(part.schema.get_field_index("offset"), part.schema.field("offset"), moved))
        ends[result.split] += result.bytes
    tables.append(read_manifest(s3, layout.bucket, layout.excluded))
    return pa.concat_tables(tables)


def _check_bad_fraction(plan: VersionPlan, manifest: pa.Table) -> None:
    statuses = _statuses(manifest)
    bad = {status: count for status, count in statuses.items() if status in BAD}
    judged = sum(count for status, count in statuses.items() if status not in NOT_MEANT)
    fraction = sum(bad.values()) / max(judged, 1)
    if bad:
        log.warning("%s of %s images are bad: %s", sum(bad.values()), judged, bad)
    if fraction <= plan.max_bad_fraction:
        return
    raise DatasetError(
        f"{sum(bad.values())} of {judged} images are bad ({fraction:.2%}), dataset.max_bad_fraction allows "
        f"{plan.max_bad_fraction:.2%}: "
        + ", ".join(f"{count} {status}" for status, count in sorted(bad.items()))
        + f"\n{_examples(manifest, sorted(bad))}\n"
        f"Mend or remove them in {plan.source}, or raise dataset.max_bad_fraction; "
        f"the plan and the packed shards stay under {plan.layout.uri} for another try of this run"
    )


def _examples(manifest: pa.Table, statuses: Sequence[str]) -> str:
    """Show some rows of each status, `EXAMPLES` in all, each in a line whatever its key holds."""
    rows = [manifest.filter(pc.field("status") == status).slice(0, EXAMPLES).to_pylist() for status in statuses]
    in_turn = [row for turn in zip_longest(*rows) for row in turn if row is not None]
    shown = sorted(in_turn[:EXAMPLES], key=lambda row: statuses.index(row["status"]))
    lines = (f"  s3://{row['bucket']}/{row['key']}: {row['status']}, {row['reason']}" for row in shown)
    return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)


def _statuses(manifest: pa.Table) -> dict[str, int]:
    return dict(sorted(Counter(cast("list[str]", manifest["status"].to_pylist())).items()))


def _describe(plan: VersionPlan, manifest: pa.Table, channels: Mapping[Split, Sequence[ByteRange]]) -> DatasetVersion:
    packed = manifest.filter(pc.field("status") == Status.PACKED)
    counts = Counter(cast("list[Split]", packed["split"].to_pylist()))
    if not counts["train"]:
        raise DatasetError(f"no image of {plan.source} could be packed for training: see the shards' logs for reasons")
    per_class = class_counts(packed)
    height, width = (pc.min(packed[column]).as_py() for column in ("height", "width"))
    record_bytes = sum(piece.size for pieces in channels.values() for piece in pieces)
    new = packed.filter(pc.starts_with(packed["shard"], pattern=f"{plan.version}/"))
    return DatasetVersion(
        name=plan.name,
        version=plan.version,
        parent=plan.parent,
        source=plan.source,
        uri=plan.layout.uri,
        labels=plan.labels,
        multi_label=plan.multi_label,
        negatives=plan.negatives,
        counts=SplitCounts.model_validate(counts),
        class_counts={label: SplitCounts.model_validate(per_class.get(label, {})) for label in plan.labels},
        statuses=_statuses(manifest),
        not_asked=plan.not_asked,
        negative_images=without_labels(packed).num_rows,
        new_images=plan.new_images,
        newly_packed=new.num_rows,
        new_training_images=new.filter(pc.field("split") == "train").num_rows,
        smallest_side=min(height, width),
        smallest_height=height,
        smallest_width=width,
        largest_test_image=_largest_test_image(plan, packed, channels),
        mean_image=MeanImage(
            width=round(pc.mean(packed["width"]).as_py(), 1),
            height=round(pc.mean(packed["height"]).as_py(), 1),
            bytes=round(record_bytes / packed.num_rows),
        ),
        next_record_id=plan.next_record_id,
        packing=plan.packing,
        split=plan.split,
        libraries={"python": platform.python_version()} | {name: library_version(name) for name in LIBRARIES},
        created=plan.created,
    )


def _largest_test_image(
    plan: VersionPlan, packed: pa.Table, channels: Mapping[Split, Sequence[ByteRange]]
) -> int | None:
    offsets = packed.filter(pc.field("split") == "test").sort_by("offset")["offset"].to_numpy()
    if not len(offsets):
        return None
    size = sum(piece.size for piece in channels["test"])
    head = FRAME_SIZE + len(encode_image_record([0.0] * (len(plan.labels) if plan.multi_label else 1), 0, b""))
    return int(np.diff(np.append(offsets, size)).max()) - head


def _write_files(
    s3: S3Client, plan: VersionPlan, channels: Mapping[Split, Sequence[ByteRange]], manifest: pa.Table
) -> None:
    """Write channels, manifest, lists and labels side by side: mostly it is the server that works."""
    layout = plan.layout
    labels = json.dumps(plan.labels, ensure_ascii=False).encode()
    with ThreadPoolExecutor(len(SPLITS) + 2) as pool:
        written = [pool.submit(write_channel, s3, plan, split, channels[split], manifest) for split in SPLITS]
        written.append(pool.submit(write_manifest, s3, layout.bucket, layout.manifest, manifest))
        written.append(pool.submit(_write_plain_lists, s3, layout, manifest))
        s3.put_object(Bucket=layout.bucket, Key=layout.labels, Body=labels, ContentType="application/json")
        for part in written:
            part.result()


def _write_plain_lists(s3: S3Client, layout: VersionLayout, manifest: pa.Table) -> None:
    """Write `packed.txt`, an address in each line, and `not-packed.txt`, an address, a tab, the status and why.

    The lines are in the order of the manifest; a batch of them is in memory at a time.
    """
    rows = manifest.select(["bucket", "key", "status", "reason"])
    with (
        ObjectSink(s3, layout.bucket, layout.packed_list, content_type=TEXT) as packed,
        ObjectSink(s3, layout.bucket, layout.not_packed_list, content_type=TEXT) as not_packed,
    ):
        for batch in rows.to_batches(BATCH_ROWS):
            lines = [(row["status"] == Status.PACKED, _list_line(row)) for row in batch.to_pylist()]
            packed.write("".join(line for is_packed, line in lines if is_packed).encode())
            not_packed.write("".join(line for is_packed, line in lines if not is_packed).encode())


def _list_line(row: dict[str, Any]) -> str:
    address = f"s3://{row['bucket']}/{row['key']}"
    if not address.isprintable():  # a line feed in a key must not make two lines of one
        address = json.dumps(address)
    if row["status"] == Status.PACKED:
        return f"{address}\n"
    reason = " ".join((row["reason"] or "").split())
    return f"{address}\t{row['status']}{f': {reason}' if reason else ''}\n"


def _put_document(s3: S3Client, version: DatasetVersion) -> DatasetVersion:
    layout = version.layout
    document = version.model_dump_json(indent=2).encode()
    try:
        s3.put_object(
            Bucket=layout.bucket,
            Key=layout.document,
            Body=document,
            ContentType="application/json",
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (409, 412):
            raise
        log.info("Another try of this run has published %s in the meantime", layout.uri)
        return load(s3, layout.uri)
    return version


def _abort_uploads(s3: S3Client, layout: VersionLayout, *, before: datetime) -> None:
    """Abort the version's own uploads, and those of other runs of the dataset that began `before`."""
    dataset = layout.prefix.removesuffix(f"{layout.version}/")
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=layout.bucket, Prefix=dataset):
        for upload in page.get("Uploads", []):
            version = upload["Key"].removeprefix(dataset).partition("/")[0]
            began = VersionLayout(layout.bucket, layout.name, version).began
            abandoned = began is not None and began < before and upload["Initiated"] < before
            if version != layout.version and not abandoned:
                continue
            if abandoned:
                log.info("Aborting the upload of %s, which a run of %s never finished", upload["Key"], began)
            s3.abort_multipart_upload(Bucket=layout.bucket, Key=upload["Key"], UploadId=upload["UploadId"])


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
        size = _records_size(s3, parent, split)
        stays = ~np.asarray(pc.is_in(records["record_id"], value_set=cut["record_id"]))
        offsets, stretches = cut_out(np.asarray(records["offset"]), size, stays)
        kept.append(_with_column(records.filter(pa.array(stays)), "offset", pa.array(offsets)))
        ranges[split] = [ByteRange(parent.layout.records(split), start, end) for start, end in stretches]
    return InheritedRecords(_with_names_of(pa.concat_tables(kept), moved), ranges)


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


def _with_names_of(rows: pa.Table, moved: pa.Table) -> pa.Table:
    """Give records that stand for another object than before the names of that object."""
    places = pc.index_in(rows["record_id"], value_set=moved["record_id"])
    for name in ("bucket", "key"):
        rows = _with_column(rows, name, pc.coalesce(moved[name].take(places), rows[name]))
    return rows


def _with_column(table: pa.Table, name: str, column: pa.Array[Any] | pa.ChunkedArray[Any]) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _records_size(s3: S3Client, version: DatasetVersion, split: Split) -> int:
    if not version.count(split):
        return 0
    return s3.head_object(Bucket=version.layout.bucket, Key=version.layout.records(split))["ContentLength"]
