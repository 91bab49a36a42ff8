"""Plan a dataset version: which images, which split, which shard."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, cast

import pyarrow.compute as pc
from botocore.exceptions import ClientError

from include.datasets.dataset_source import DatasetSource
from include.datasets.errors import DatasetError
from include.datasets.labels import asked_labels, class_order
from include.datasets.layout import VersionLayout, version_name
from include.datasets.manifest import MISSING, NOT_ASKED, write_manifest
from include.datasets.planning.given_splits import decide_splits
from include.datasets.planning.image_table import ImagesByContent
from include.datasets.planning.parent import check_growth, load_parent
from include.datasets.planning.parent_images import ParentImages
from include.datasets.planning.planned_shards import cut_shards
from include.datasets.planning.selection import Selection, select_images
from include.datasets.planning.version_plan import ShardTask, VersionPlan
from include.datasets.source_image import ImageSource
from include.datasets.sources.listing import ArchivedObjects, archived_error, find_objects
from include.datasets.sources.source import open_source
from include.datasets.unpacked import keep_queries
from include.datasets.version import SplitOptions, find
from include.recordio.options import ImageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.layout import Split
    from include.run_conf import DatasetConf

logger = logging.getLogger(__name__)

SHOWN = 20
"""Labels in a line of the log."""


def plan_version(
    s3: S3Client,
    conf: DatasetConf,
    *,
    data_bucket: str,
    run_id: str,
    run_after: datetime,
    parent: str | None = None,
) -> VersionPlan:
    """List the source and plan the version of this run; ``parent`` is a version's address or its name.

    The plan's rows go to S3 under the version's ``plan/``; a retry of the run plans the same version again. Raises
    DatasetError where the source, the labels or the parent cannot give a dataset.
    """
    conf = keep_queries(s3, conf, data_bucket)
    layout = VersionLayout(data_bucket, conf.name, version_name(run_id, run_after))
    published = find(s3, layout)
    if published is not None:
        logger.info("Version %s is published already", layout.uri)
        return VersionPlan.of_published(published, conf.max_bad_fraction)
    packing = image_options(conf)
    base = load_parent(s3, layout, parent, conf, packing) if parent else None
    if base is not None and base.negatives != conf.negatives:
        logger.info("dataset.negatives is %s, as in the parent version %s", base.negatives, base.version)
        conf = conf.model_copy(update={"negatives": base.negatives})
    archived = ArchivedObjects()
    source = open_source(s3, conf, data_bucket, archived)
    field = "dataset.labels" if conf.labels or not conf.labels_file else f"dataset.labels_file {conf.labels_file}"
    labels = class_order(asked_labels(s3, conf), source, base, field=field, remedy=_how_to_choose(conf))
    known = ParentImages.of(s3, base) if base else ParentImages()
    selection = select_images(source.images(labels), source.left_out(labels), known, keep_removed=conf.keep_removed)
    _check_enough_is_there(selection, source, conf)
    if base is None:
        _check_every_class_has_images(labels, selection, source, conf)
    else:
        check_growth(selection, base, source.uri)
    _check_images_are_not_archived(s3, conf, selection, source.uri, archived)
    del known
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
            logger.warning("What of the archived objects was restored is not known: %s", error)
    if found:
        raise archived_error("dataset.source", uri, bucket, found, len(keys))


def _in_tiers(found: Mapping[str, str]) -> dict[str, str]:
    """Those in an archive tier of S3 Intelligent-Tiering, of which a listing says nothing."""
    return {key: tier for key, tier in found.items() if tier.endswith("_ACCESS")}


def image_options(conf: DatasetConf) -> ImageOptions:
    """Return the packing options of a run conf; images of record files are packed as they are."""
    packing = conf.packing
    return ImageOptions(
        resize=packing.resize or 0,
        center_crop=packing.center_crop,
        quality=packing.quality,
        color=packing.color,
        encoding=".png" if packing.encoding == "png" else ".jpg",
        pass_through=packing.pass_through or conf.source_kind == "records",
        fast_decode=packing.fast_decode,
        minimum_side=packing.minimum_side or 0,
    )


def _check_enough_is_there(selection: Selection, source: ImageSource, conf: DatasetConf) -> None:
    """Raise DatasetError where so many images are not there that no version could be published."""
    missing = selection.excluded.filter(pc.field("status") == MISSING).num_rows
    images = max(selection.listed, selection.kept.num_rows) + missing
    if missing and missing / images > conf.max_bad_fraction and (unmatched := source.unmatched()):
        raise DatasetError(
            f"{missing} of {images} images are not there ({missing / images:.2%}), dataset.max_bad_fraction allows "
            f"{conf.max_bad_fraction:.2%}.\n{unmatched}"
        )


def _not_asked(selection: Selection, source: ImageSource, labels: list[str]) -> dict[str, int]:
    """Images of the source by label, for the labels that were not asked for; the most frequent label first."""
    rows = selection.excluded.filter(pc.field("status") == NOT_ASKED)
    counts = Counter(cast("list[str]", pc.list_flatten(rows["labels"]).to_pylist()))
    counts.update(source.unused_labels(labels))
    for label in labels:
        counts.pop(label, None)
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _check_every_class_has_images(
    labels: list[str], selection: Selection, source: ImageSource, conf: DatasetConf
) -> None:
    chosen = set(pc.unique(pc.list_flatten(selection.chosen.columns["labels"])).to_pylist())
    empty = [label for label in labels if label not in chosen]
    if empty:
        rows = selection.excluded.select(["status", "labels"]).to_pylist()
        statuses = Counter(row["status"] for row in rows if not set(empty).isdisjoint(row["labels"]))
        why = f" (left out: {dict(statuses)})" if statuses else ""
        unmatched = source.unmatched() if MISSING in statuses else ""
        remedy = f".\n{unmatched}" if unmatched else f"; add images, or {_how_to_choose(conf)}"
        raise DatasetError(
            f"{len(empty)} classes of {source.uri} have no image to pack: {', '.join(empty[:10])}{why}{remedy}"
        )


def _how_to_choose(conf: DatasetConf) -> str:
    """Say how to leave classes out: ``dataset.labels`` alone names all classes where the source has numbers."""
    has_numbers = conf.source_kind == "records" or any(table.lower().endswith(".lst") for table in conf.label_tables)
    if conf.labels and has_numbers and not conf.labels_file:
        return "name all classes in a dataset.labels_file, in the order of their numbers, and some in dataset.labels"
    return "name only classes with images in dataset.labels"


def _write_plan(
    s3: S3Client, plan: VersionPlan, selection: Selection, splits: dict[str, Split], shard_images: int
) -> VersionPlan:
    layout = plan.layout
    shards: list[ShardTask] = []
    for shard, rows in cut_shards(plan, ImagesByContent(selection.chosen), splits, shard_images):
        write_manifest(s3, layout.bucket, layout.planned_shard(shard.index), rows)
        shards.append(shard)
    write_manifest(s3, layout.bucket, layout.excluded, selection.excluded)
    if plan.parent:
        write_manifest(s3, layout.bucket, layout.changed_records, selection.changed_records)
    images = len(selection.chosen)
    plan = plan.model_copy(update={"shards": shards, "next_record_id": plan.next_record_id + images})
    document = plan.model_dump_json(indent=2).encode()
    s3.put_object(Bucket=layout.bucket, Key=layout.plan_document, Body=document, ContentType="application/json")
    logger.info(
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
        logger.info("Labels that were not asked for, with their images: %s%s", shown, more)
    return plan
