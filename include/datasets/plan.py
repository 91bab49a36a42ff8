"""Plan a dataset version: which images, which split, which shard; or count only what the next version would pack.

A version may grow from a parent: what has to be alike and what must not be lost is checked here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError
from include.datasets.labels import asked_labels, class_order
from include.datasets.layout import SPLITS, Split, VersionLayout, keep_queries, version_name
from include.datasets.manifest import lay_out, write_manifest
from include.datasets.selection import ImagesByContent, ParentImages, Selection, select_images
from include.datasets.source_image import ImageSource, Status
from include.datasets.sources.listing import ArchivedObjects, archived_error, find_objects
from include.datasets.sources.source import open_source
from include.datasets.splits import decide_splits, fraction
from include.datasets.version import DatasetSource, DatasetVersion, ShardTask, SplitOptions, VersionPlan, find, load
from include.recordio.options import ImageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

log = logging.getLogger(__name__)

SHOWN = 20
"""Labels in a line of the log."""
EXAMPLES = 10
DIGESTED = ("bucket", "key", "etag", "labels", "record_id", "split")


@dataclass(frozen=True, slots=True)
class NewImages:
    """Images that the next version would pack."""

    count: int
    bytes: int
    fingerprint: str
    """The same for the same images with the same labels."""
    new_labels: tuple[str, ...]
    """Classes that have arrived since and need a full retrain; none where the run conf names labels.

    Labels that the version was not asked for have not arrived.
    """


def plan_version(
    s3: S3Client,
    conf: DatasetConf,
    *,
    data_bucket: str,
    run_id: str,
    run_after: datetime,
    parent: str | None = None,
) -> VersionPlan:
    """List the source and plan the version of this run; `parent` is a version's address or its name.

    The plan's rows go to S3 under the version's `plan/`; a retry of the run plans the same version again. Raises
    DatasetError where the source, the labels or the parent cannot give a dataset.
    """
    conf = keep_queries(s3, conf, data_bucket)
    layout = VersionLayout(data_bucket, conf.name, version_name(run_id, run_after))
    published = find(s3, layout)
    if published is not None:
        log.info("Version %s is published already", layout.uri)
        return VersionPlan.of_published(published, conf.max_bad_fraction)
    packing = conf.image_options
    base = _load_parent(s3, layout, parent, conf, packing) if parent else None
    if base is not None and base.negatives != conf.negatives:
        log.info("dataset.negatives is %s, as in the parent version %s", base.negatives, base.version)
        conf = conf.model_copy(update={"negatives": base.negatives})
    archived = ArchivedObjects()
    source = open_source(s3, conf, data_bucket, archived)
    field = "dataset.labels" if conf.labels or not conf.labels_file else f"dataset.labels_file {conf.labels_file}"
    remedy = _how_to_choose(conf)
    labels = class_order(asked_labels(s3, conf), source, base, field=field, remedy=remedy)
    selection = _select(s3, conf, source, labels, base)
    _check_images_are_not_archived(s3, conf, selection, source.uri, archived)
    plan = VersionPlan(
        name=conf.name,
        version=layout.version,
        bucket=data_bucket,
        parent=base.uri if base else None,
        source=DatasetSource.of(conf, data_bucket),
        labels=labels,
        multi_label=conf.multi_label,
        negatives=conf.negatives,
        packing=packing,
        split=SplitOptions(**conf.split.model_dump(include=set(SplitOptions.model_fields))),
        max_bad_fraction=conf.max_bad_fraction,
        created=run_after.replace(tzinfo=run_after.tzinfo or UTC),
        next_record_id=base.next_record_id if base else 0,
        new_images=selection.new_images,
        not_asked=_not_asked(selection, source, labels),
        shards=[],
    )
    chosen = ImagesByContent(selection.chosen)
    splits = decide_splits(chosen, selection.known, conf.split, given=source.given_splits)
    return _write_plan(s3, plan, selection, splits, conf.packing.shard_images)


def find_new_images(s3: S3Client, conf: DatasetConf, version: DatasetVersion) -> NewImages:
    """Compare the source with a version's manifest by key, ETag and labels; no image is read.

    Counted are images that arrived, replaced others or got other labels. Not counted is what no version could gain
    from: images of none of the version's classes, objects without bytes, content that was packed under another key, and
    images that were removed.
    """
    conf = conf.model_copy(update={"negatives": version.negatives})
    source = open_source(s3, conf, version.layout.bucket)
    chosen = select_images(source.images(version.labels), (), ParentImages.of(s3, version)).chosen
    new_labels = (
        () if conf.labels else tuple(sorted(set(source.classes) - set(version.labels) - set(version.not_asked)))
    )
    log.info("%s: %s images are new since version %s", conf.name, len(chosen), version.version)
    if new_labels:
        log.warning("Classes without a label in version %s: %s", version.version, ", ".join(new_labels))
    digest = hashlib.sha256(repr(chosen.columns.select(["key", "etag", "labels"]).to_pylist()).encode())
    return NewImages(len(chosen), chosen.bytes, digest.hexdigest()[:8], new_labels)


def _load_parent(
    s3: S3Client, layout: VersionLayout, parent: str, conf: DatasetConf, packing: ImageOptions
) -> DatasetVersion:
    """Read the parent at an address, or of this name. Raises DatasetError where the conf cannot grow it."""
    version = load(s3, parent if "://" in parent else VersionLayout(layout.bucket, layout.name, parent).uri)
    if version.layout.bucket != layout.bucket:
        raise DatasetError(f"parent {version.uri} is not in the data bucket {layout.bucket}: grow it in its own bucket")
    if conf.multi_label != version.multi_label:
        raise DatasetError(
            f"dataset.multi_label is {conf.multi_label}, that of parent version {version.version} "
            f"{version.multi_label}: all records of a version have labels of one kind; build one without a parent"
        )
    asked, packed = packing.as_dict(), version.packing.as_dict()
    differing = [f"{name} {packed[name]} -> {asked[name]}" for name in asked if asked[name] != packed[name]]
    if differing:
        raise DatasetError(
            f"dataset.packing differs from parent version {version.version} ({', '.join(differing)}): all images of a "
            "version are packed in the same way; keep the parent's options, or build a version without a parent"
        )
    return version


def _select(
    s3: S3Client, conf: DatasetConf, source: ImageSource, labels: list[str], base: DatasetVersion | None
) -> Selection:
    """What becomes of the source's images. Raises DatasetError where they are too few for a version."""
    known = ParentImages.of(s3, base) if base else ParentImages()
    selection = select_images(source.images(labels), source.left_out(labels), known, keep_removed=conf.keep_removed)
    _check_enough_is_there(selection, source, conf)
    if base is None:
        _check_every_class_has_images(labels, selection, source, conf)
    else:
        _check_growth(selection, base, source.uri)
    return selection


def _check_enough_is_there(selection: Selection, source: ImageSource, conf: DatasetConf) -> None:
    """Raise DatasetError where so many images are not there that no version could be published."""
    missing = selection.excluded.filter(pc.field("status") == Status.MISSING).num_rows
    images = max(selection.listed, selection.kept.num_rows) + missing
    if missing and missing / images > conf.max_bad_fraction and (unmatched := source.unmatched()):
        raise DatasetError(
            f"{missing} of {images} images are not there ({missing / images:.2%}), dataset.max_bad_fraction allows "
            f"{conf.max_bad_fraction:.2%}.\n{unmatched}"
        )


def _check_every_class_has_images(
    labels: list[str], selection: Selection, source: ImageSource, conf: DatasetConf
) -> None:
    chosen = set(pc.unique(pc.list_flatten(selection.chosen.columns["labels"])).to_pylist())
    empty = [label for label in labels if label not in chosen]
    if empty:
        rows = selection.excluded.select(["status", "labels"]).to_pylist()
        statuses = Counter(row["status"] for row in rows if not set(empty).isdisjoint(row["labels"]))
        why = f" (left out: {dict(statuses)})" if statuses else ""
        unmatched = source.unmatched() if Status.MISSING in statuses else ""
        remedy = f".\n{unmatched}" if unmatched else f"; add images, or {_how_to_choose(conf)}"
        raise DatasetError(
            f"{len(empty)} classes of {source.uri} have no image to pack: {', '.join(empty[:10])}{why}{remedy}"
        )


def _check_growth(selection: Selection, version: DatasetVersion, source: str) -> None:
    """Raise DatasetError where the source is hardly the parent's: it is empty or has lost a class."""
    if not selection.listed:
        raise DatasetError(
            f"{source} lists no image of the {len(version.labels)} classes, but parent version {version.version} has "
            f"{version.counts.total}: correct the source, or build a version without a parent"
        )
    left = _classes(selection.kept) | _classes(selection.chosen.columns)
    lost = [label for label in version.labels if version.class_counts[label].total and label not in left]
    if lost:
        raise DatasetError(
            f"{len(lost)} classes of parent version {version.version} have no image left at {source}: "
            f"{', '.join(lost[:EXAMPLES])}; put their images back, set dataset.keep_removed, or build a version of the "
            "other classes without a parent"
        )


def _classes(images: pa.Table) -> set[str]:
    return {str(label) for label in pc.unique(pc.list_flatten(images["labels"])).to_pylist()}


def _check_images_are_not_archived(
    s3: S3Client, conf: DatasetConf, selection: Selection, uri: str, archived: ArchivedObjects
) -> None:
    """Raise DatasetError if images that have to be read must be restored first; those of the parent are not read."""
    if not len(archived):
        return
    keys = cast("list[str]", selection.chosen.columns["key"].to_pylist())
    bucket: str = selection.chosen.columns["bucket"][0].as_py() if keys else ""
    found = archived.of(bucket, keys)
    if found and conf.inventory:  # which knows nothing of what was restored since
        now = ArchivedObjects()
        try:
            find_objects(s3, bucket, found, now)
            found = {**now.of(bucket, found), **_in_tiers(found)}
        except ClientError as error:
            log.warning("Which archived objects were restored is not known: %s", error)
    if found:
        raise archived_error("dataset.source", uri, bucket, found, len(keys))


def _in_tiers(found: Mapping[str, str]) -> dict[str, str]:
    """Those in an archive tier of S3 Intelligent-Tiering, of which a listing says nothing."""
    return {key: tier for key, tier in found.items() if tier.endswith("_ACCESS")}


def _how_to_choose(conf: DatasetConf) -> str:
    """How to leave classes out: `dataset.labels` alone names all classes where the source has numbers."""
    has_numbers = conf.source_kind == "records" or any(table.lower().endswith(".lst") for table in conf.label_tables)
    if conf.labels and has_numbers and not conf.labels_file:
        return "name all classes in a dataset.labels_file, in the order of their numbers, and some in dataset.labels"
    return "name only classes with images in dataset.labels"


def _not_asked(selection: Selection, source: ImageSource, labels: list[str]) -> dict[str, int]:
    """Images of the source by label, for the labels that were not asked for; the most frequent label first."""
    rows = selection.excluded.filter(pc.field("status") == Status.NOT_ASKED)
    counts = Counter(cast("list[str]", pc.list_flatten(rows["labels"]).to_pylist()))
    counts.update(source.unused_labels(labels))
    for label in labels:
        counts.pop(label, None)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _write_plan(
    s3: S3Client, plan: VersionPlan, selection: Selection, splits: dict[str, Split], shard_images: int
) -> VersionPlan:
    layout = plan.layout
    shards: list[ShardTask] = []
    for shard, rows in _cut_shards(plan, ImagesByContent(selection.chosen), splits, shard_images):
        write_manifest(s3, layout.bucket, layout.planned_shard(shard.index), rows)
        shards.append(shard)
    write_manifest(s3, layout.bucket, layout.excluded, selection.excluded)
    if plan.parent:
        write_manifest(s3, layout.bucket, layout.changed_records, selection.changed_records)
    images = len(selection.chosen)
    plan = plan.model_copy(update={"shards": shards, "next_record_id": plan.next_record_id + images})
    document = plan.model_dump_json(indent=2).encode()
    s3.put_object(Bucket=layout.bucket, Key=layout.plan_document, Body=document, ContentType="application/json")
    log.info(
        "Planned %s: %s new images, %s to pack in %s shards (%s), %s records of the parent cut out, left out: %s",
        layout.uri,
        plan.new_images,
        images,
        len(shards),
        dict(Counter(splits.values())) or "none",
        selection.cut_records,
        dict(Counter(selection.excluded["status"].to_pylist())) or "none",
    )
    if plan.not_asked:
        shown = ", ".join(f"{label} {count}" for label, count in islice(plan.not_asked.items(), SHOWN))
        more = f" and {len(plan.not_asked) - SHOWN} more" if len(plan.not_asked) > SHOWN else ""
        log.info("Labels that were not asked for, with their images: %s%s", shown, more)
    return plan


def _cut_shards(
    plan: VersionPlan, chosen: ImagesByContent, splits: Mapping[str, Split], shard_images: int
) -> Iterator[tuple[ShardTask, pa.Table]]:
    """Give each image its record id and its shard, of about equal size within a split; yields the manifest rows.

    Images are mixed by content, not class after class: training reads a `.rec` front to back and shuffles only within
    a window.
    """
    count = len(chosen)
    points = np.fromiter((fraction(plan.split.seed, "order", etag) for etag in chosen), np.float64, count)
    places_of_splits = np.fromiter((SPLITS.index(splits[etag]) for etag in chosen), np.int8, count)
    order = np.argsort(points, kind="stable")
    index, record_id = 0, plan.next_record_id
    for place, split in enumerate(SPLITS):
        rows = order[places_of_splits[order] == place]
        shards = -(-len(rows) // shard_images)
        for start, end in pairwise(len(rows) * number // shards for number in range(shards + 1 if shards else 0)):
            planned = lay_out(
                chosen.images.take(rows[start:end]).columns,
                split=split,
                status=Status.PLANNED,
                record_id=pa.array(np.arange(record_id, record_id + end - start)),
                shard=f"{plan.version}/{index:05d}",
            )
            yield (
                ShardTask(index=index, split=split, images=end - start, fingerprint=_fingerprint(plan, planned)),
                planned,
            )
            index, record_id = index + 1, record_id + end - start


def _fingerprint(plan: VersionPlan, planned: pa.Table) -> str:
    packing = json.dumps(plan.packing.as_dict(), separators=(",", ":"))
    digest = hashlib.sha256(f"{packing}{plan.labels}{plan.multi_label}".encode())
    for name in DIGESTED:
        digest.update(repr(planned[name].to_pylist()).encode())
    return digest.hexdigest()[:16]
