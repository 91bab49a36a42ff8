"""Publish a version: one `.rec` per channel composed on the server, and `dataset.json` last."""

from __future__ import annotations

import io
import json
import logging
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as library_version
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS, Split
from include.datasets.manifest import (
    BAD,
    BATCH_ROWS,
    NOT_MEANT,
    PACKED,
    class_counts,
    read_manifest,
    without_labels,
    write_manifest,
)
from include.datasets.multipart import ByteRange, compose
from include.datasets.packing.shard import ShardResult
from include.datasets.planning.version_plan import VersionPlan
from include.datasets.publishing.inherited import InheritedRecords, inherit_records
from include.datasets.publishing.plain_lists import write_plain_lists
from include.datasets.publishing.working_files import remove_working_files
from include.datasets.report.report import write_report
from include.datasets.version import DatasetVersion, MeanImage, SplitCounts, find, load
from include.recordio.format import FRAME_SIZE, encode_image_record, index_line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

EXAMPLES = 10
LIBRARIES = ("opencv-python-headless", "numpy", "pyarrow", "obstore")


def publish_version(s3: S3Client, plan: VersionPlan, results: Sequence[ShardResult]) -> DatasetVersion:
    """Compose the packed shards into a version; publishing twice returns the same one.

    The parent's records come first, copied on the server, then the new shards in their order. Raises DatasetError where
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
        channels = _channels(plan, inherited, results)
        version = _describe(plan, manifest, channels)
        _write_files(s3, plan, channels, manifest)
        write_report(s3, version, manifest, parent)
        published = _put_document(s3, version)
    remove_working_files(s3, layout)
    log.info("Published %s: %s. Its page: s3://%s/%s", published.uri, published.counts, layout.bucket, layout.report)
    return published


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


def _describe(plan: VersionPlan, manifest: pa.Table, channels: Mapping[Split, Sequence[ByteRange]]) -> DatasetVersion:
    packed = manifest.filter(pc.field("status") == PACKED)
    counts = Counter(cast("list[Split]", packed["split"].to_pylist()))
    if not counts["train"]:
        raise DatasetError(f"no image of {plan.source} could be packed for training: see the shards' logs for reasons")
    per_class = class_counts(packed)
    height, width = (pc.min(packed[column]).as_py() for column in ("height", "width"))
    record_bytes = sum(piece.size for pieces in channels.values() for piece in pieces)
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
        newly_packed=packed.filter(pc.starts_with(packed["shard"], pattern=f"{plan.version}/")).num_rows,
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


def _channels(
    plan: VersionPlan, inherited: InheritedRecords, results: Sequence[ShardResult]
) -> dict[Split, list[ByteRange]]:
    """Return what each channel's `.rec` is put together of."""
    channels = {split: list(ranges) for split, ranges in inherited.ranges.items()}
    for result in results:
        channels[result.split].append(ByteRange(plan.layout.packed_shard(result.index), 0, result.bytes))
    return channels


def _write_files(
    s3: S3Client, plan: VersionPlan, channels: Mapping[Split, Sequence[ByteRange]], manifest: pa.Table
) -> None:
    """Write channels, manifest, lists and labels side by side: mostly it is the server that works."""
    layout = plan.layout
    labels = json.dumps(plan.labels, ensure_ascii=False).encode()
    with ThreadPoolExecutor(len(SPLITS) + 2) as pool:
        written = [pool.submit(_write_channel, s3, plan, split, channels[split], manifest) for split in SPLITS]
        written.append(pool.submit(write_manifest, s3, layout.bucket, layout.manifest, manifest))
        written.append(pool.submit(write_plain_lists, s3, layout, manifest))
        s3.put_object(Bucket=layout.bucket, Key=layout.labels, Body=labels, ContentType="application/json")
        for part in written:
            part.result()


def _write_channel(
    s3: S3Client, plan: VersionPlan, split: Split, ranges: Sequence[ByteRange], manifest: pa.Table
) -> None:
    layout = plan.layout
    if not compose(s3, layout.bucket, layout.records(split), ranges, scratch=layout.joined(split)):
        return
    records = manifest.select(["split", "status", "record_id", "offset"])
    records = records.filter((pc.field("status") == PACKED) & (pc.field("split") == split)).sort_by("offset")
    index = io.BytesIO()
    for batch in records.to_batches(BATCH_ROWS):
        places = zip(*(cast("list[int]", batch[name].to_pylist()) for name in ("record_id", "offset")), strict=True)
        index.writelines(index_line(record_id, offset) for record_id, offset in places)
    index.seek(0)
    s3.put_object(Bucket=layout.bucket, Key=layout.index(split), Body=index)


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


def _statuses(manifest: pa.Table) -> dict[str, int]:
    return dict(sorted(Counter(cast("list[str]", manifest["status"].to_pylist())).items()))
