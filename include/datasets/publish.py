"""Publish a version: one ``.rec`` per channel composed on the server, and ``dataset.json`` last."""

from __future__ import annotations

import json
import logging
import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version as library_version
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from include.datasets.compose import StoredObject, compose
from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS, Split, VersionLayout
from include.datasets.manifest import (
    BAD,
    DUPLICATE,
    IGNORED,
    PACKED,
    SKIPPED,
    TRANSIENT,
    UNLABELLED,
    read_manifest,
    write_manifest,
)
from include.datasets.plan import VersionPlan
from include.datasets.report import write_report
from include.datasets.shard import ShardResult
from include.datasets.version import DatasetVersion, SplitCounts, find, load
from include.recordio.writer import index_line

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

EXAMPLES = 10
LIBRARIES = ("opencv-python-headless", "numpy", "pyarrow", "obstore")


def publish_version(s3: S3Client, plan: VersionPlan, results: Sequence[ShardResult]) -> DatasetVersion:
    """Compose the packed shards into a version; publishing twice returns the same one.

    The parent's records come first, copied on the server, then the new shards in their order. Raises DatasetError where
    a shard is missing, or more than ``max_bad_fraction`` of the version's images are bad: nothing is published then.
    """
    layout = plan.layout
    published = find(s3, layout)
    if published is None:
        _check_all_shards_are_packed(plan, results)
        parent = load(s3, plan.parent) if plan.parent else None
        manifest = _manifest(s3, plan, parent, results)
        _check_bad_fraction(plan, manifest)
        version = _describe(plan, parent, manifest)
        _compose_channels(s3, plan, parent, results, manifest)
        write_manifest(s3, layout.bucket, layout.manifest, manifest)
        labels = json.dumps(plan.labels, ensure_ascii=False).encode()
        s3.put_object(Bucket=layout.bucket, Key=layout.labels, Body=labels, ContentType="application/json")
        write_report(s3, version, manifest, parent)
        published = _put_document(s3, version)
    remove_working_files(s3, layout)
    logger.info("Published %s: %s. Its page: s3://%s/%s", published.uri, published.counts, layout.bucket, layout.report)
    return published


def remove_working_files(s3: S3Client, layout: VersionLayout) -> int:
    """Remove a version's plan and shards and abort its stale uploads; returns the number of objects removed."""
    uploads = s3.get_paginator("list_multipart_uploads").paginate(Bucket=layout.bucket, Prefix=layout.prefix)
    for page in uploads:
        for stale in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=layout.bucket, Key=stale["Key"], UploadId=stale["UploadId"])
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


def _manifest(
    s3: S3Client, plan: VersionPlan, parent: DatasetVersion | None, results: Sequence[ShardResult]
) -> pa.Table:
    layout = plan.layout
    tables: list[pa.Table] = []
    if parent is not None:
        inherited = read_manifest(s3, parent.layout.bucket, parent.layout.manifest)
        tables.append(inherited.filter(~pc.field("status").isin(sorted(TRANSIENT))))
    ends = {split: _size(s3, parent, split) for split in SPLITS}
    for result in sorted(results, key=lambda result: result.index):
        part = read_manifest(s3, layout.bucket, layout.shard_manifest(result.index))
        moved = pc.add(part["offset"], pa.scalar(ends[result.split], pa.int64()))
        tables.append(part.set_column(part.schema.get_field_index("offset"), part.schema.field("offset"), moved))
        ends[result.split] += result.bytes
    tables.append(read_manifest(s3, layout.bucket, layout.excluded))
    return pa.concat_tables(tables)


def _check_bad_fraction(plan: VersionPlan, manifest: pa.Table) -> None:
    statuses = _statuses(manifest)
    bad = {status: count for status, count in statuses.items() if status in BAD}
    judged = sum(count for status, count in statuses.items() if status not in (DUPLICATE, IGNORED, SKIPPED, UNLABELLED))
    fraction = sum(bad.values()) / max(judged, 1)
    if bad:
        logger.warning("%s of %s images are bad: %s", sum(bad.values()), judged, bad)
    if fraction <= plan.max_bad_fraction:
        return
    rows = manifest.filter(pc.field("status").isin(sorted(bad))).slice(0, EXAMPLES).to_pylist()
    examples = "\n".join(f"  s3://{row['bucket']}/{row['key']}: {row['status']}, {row['reason']}" for row in rows)
    raise DatasetError(
        f"{sum(bad.values())} of {judged} images are bad ({fraction:.2%}), dataset.max_bad_fraction allows "
        f"{plan.max_bad_fraction:.2%}: "
        + ", ".join(f"{count} {status}" for status, count in sorted(bad.items()))
        + f"\n{examples}\nMend or remove them in {plan.source}, or raise dataset.max_bad_fraction"
    )


def _describe(plan: VersionPlan, parent: DatasetVersion | None, manifest: pa.Table) -> DatasetVersion:
    packed = manifest.filter(pc.field("status") == PACKED)
    splits = cast("list[Split]", packed["split"].to_pylist())
    labels_of = cast("list[list[str]]", packed["labels"].to_pylist())
    per_class = Counter((label, split) for split, labels in zip(splits, labels_of, strict=True) for label in labels)
    counts = Counter(splits)
    if not counts["train"]:
        raise DatasetError(f"no image of {plan.source} could be packed for training: see the shards' logs for reasons")
    sides = [pc.min(packed[column]).as_py() for column in ("width", "height")]
    return DatasetVersion(
        name=plan.name,
        version=plan.version,
        parent=parent.uri if parent else None,
        source=plan.source,
        uri=plan.layout.uri,
        labels=plan.labels,
        multi_label=plan.multi_label,
        counts=SplitCounts(**{split: counts[split] for split in SPLITS}),
        class_counts={
            label: SplitCounts(**{split: per_class[label, split] for split in SPLITS}) for label in plan.labels
        },
        statuses=_statuses(manifest),
        new_images=plan.new_images,
        smallest_side=min(sides),
        next_record_id=plan.next_record_id,
        packing=plan.packing,
        split=plan.split,
        libraries={"python": platform.python_version()} | {name: library_version(name) for name in LIBRARIES},
        created=plan.created,
    )


def _compose_channels(
    s3: S3Client,
    plan: VersionPlan,
    parent: DatasetVersion | None,
    results: Sequence[ShardResult],
    manifest: pa.Table,
) -> None:
    layout = plan.layout
    for split in SPLITS:
        pieces = [StoredObject(parent.layout.records(split), _size(s3, parent, split))] if parent else []
        pieces += [
            StoredObject(layout.packed_shard(result.index), result.bytes)
            for result in sorted(results, key=lambda result: result.index)
            if result.split == split
        ]
        if not compose(s3, layout.bucket, layout.records(split), [piece for piece in pieces if piece.size]):
            continue
        records = manifest.filter((pc.field("status") == PACKED) & (pc.field("split") == split)).sort_by("offset")
        ids = cast("list[int]", records["record_id"].to_pylist())
        offsets = cast("list[int]", records["offset"].to_pylist())
        index = b"".join(index_line(record_id, offset) for record_id, offset in zip(ids, offsets, strict=True))
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
        logger.info("Another try of this run has published %s in the meantime", layout.uri)
        return load(s3, layout.uri)
    return version


def _size(s3: S3Client, version: DatasetVersion | None, split: Split) -> int:
    if version is None or not version.count(split):
        return 0
    return s3.head_object(Bucket=version.layout.bucket, Key=version.layout.records(split))["ContentLength"]


def _statuses(manifest: pa.Table) -> dict[str, int]:
    counted = Counter(cast("list[str]", manifest["status"].to_pylist()))
    return dict(sorted(counted.items()))
