"""Plan a dataset version: which images, which split, which shard."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.dataset_source import DatasetSource
from include.datasets.errors import DatasetError
from include.datasets.given_splits import decide_splits
from include.datasets.known import KnownImages
from include.datasets.labels import class_order
from include.datasets.labels_file import asked_labels
from include.datasets.layout import SPLITS, Split, VersionLayout, version_name
from include.datasets.manifest import PLANNED, ManifestRow, to_table, write_manifest
from include.datasets.selection import Selection, select_images
from include.datasets.source import ImageSource, SourceImage
from include.datasets.source_of_conf import open_source
from include.datasets.splits import fraction
from include.datasets.version import DatasetVersion, SplitOptions, find, load
from include.recordio.options import ImageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

logger = logging.getLogger(__name__)


class ShardTask(BaseModel):
    """One mapped task: the images to pack lie in the plan's document of this shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: Split
    images: int
    fingerprint: str
    """Hash of the planned rows and options: a finished shard is reused only where it is the same."""


class VersionPlan(BaseModel):
    """What ``plan_version`` decided, small enough for XCom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    bucket: str
    parent: str | None
    """Address of the parent version."""
    source: DatasetSource
    labels: list[str]
    multi_label: bool
    packing: ImageOptions
    split: SplitOptions
    max_bad_fraction: float
    created: datetime
    next_record_id: int
    new_images: int
    """Source images that the parent's manifest does not know; all of them where there is no parent."""
    shards: list[ShardTask]
    published: bool = False
    """The version exists already: nothing is left to pack."""

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout(self.bucket, self.name, self.version)


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
    layout = VersionLayout(data_bucket, conf.name, version_name(run_id, run_after))
    published = find(s3, layout)
    if published is not None:
        logger.info("Version %s is published already", layout.uri)
        return _plan_of(published, conf.max_bad_fraction)
    packing = image_options(conf)
    base = _load_parent(s3, layout, parent, conf, packing)
    source = open_source(s3, conf, data_bucket)
    labels = class_order(asked_labels(s3, conf), source, base)
    known = KnownImages.of(s3, base) if base else KnownImages()
    new = _new_images(source, labels, known)
    _check_one_bucket(new, known)
    selection = select_images(new, source.left_out(labels), known)
    if base is None:
        _check_every_class_has_images(labels, selection, source.uri)
    plan = VersionPlan(
        name=conf.name,
        version=layout.version,
        bucket=data_bucket,
        parent=base.uri if base else None,
        source=DatasetSource.of(conf, data_bucket),
        labels=labels,
        multi_label=conf.multi_label,
        packing=packing,
        split=SplitOptions(**conf.split.model_dump(include=set(SplitOptions.model_fields))),
        max_bad_fraction=conf.max_bad_fraction,
        created=run_after.replace(tzinfo=run_after.tzinfo or UTC),
        next_record_id=base.next_record_id if base else 0,
        new_images=len(new),
        shards=[],
    )
    splits = decide_splits(selection.chosen, known, conf.split, given=source.given_splits)
    return _write_plan(s3, plan, selection, splits, conf.packing.shard_images)


def image_options(conf: DatasetConf) -> ImageOptions:
    """Return the packing options of a run conf; a dataset's images always have three channels."""
    packing = conf.packing
    return ImageOptions(
        resize=packing.resize or 0,
        center_crop=packing.center_crop,
        quality=packing.quality,
        encoding=".png" if packing.encoding == "png" else ".jpg",
        pass_through=packing.pass_through,
    )


def _plan_of(version: DatasetVersion, max_bad_fraction: float) -> VersionPlan:
    same = set(VersionPlan.model_fields) & set(DatasetVersion.model_fields)
    return VersionPlan(
        **{name: getattr(version, name) for name in same},
        bucket=version.layout.bucket,
        max_bad_fraction=max_bad_fraction,
        shards=[],
        published=True,
    )


def _new_images(source: ImageSource, labels: list[str], known: KnownImages) -> list[SourceImage]:
    new: list[SourceImage] = []
    relabelled: list[SourceImage] = []
    for image in source.images(labels):
        if not known.has(image):
            new.append(image)
        elif known.has_other_labels(image):
            relabelled.append(image)
    if relabelled:
        logger.warning(
            "%s images have other labels than in the parent, such as %s: they keep those they were packed with until a "
            "version is built without a parent",
            len(relabelled),
            relabelled[0].uri,
        )
    return new


def _check_one_bucket(new: list[SourceImage], known: KnownImages) -> None:
    there = {bucket for bucket, _ in known.splits_of_keys}
    other = next((image for image in new if there and image.bucket not in there), None)
    if other is not None:
        raise DatasetError(
            f"{other.uri} lies in another bucket than the parent's images ({', '.join(sorted(there))}): batch "
            "transform measures a model on images of one bucket; copy the new ones there, or build a version without a "
            "parent"
        )


def _load_parent(
    s3: S3Client, layout: VersionLayout, parent: str | None, conf: DatasetConf, packing: ImageOptions
) -> DatasetVersion | None:
    if not parent:
        return None
    version = load(s3, parent if "://" in parent else VersionLayout(layout.bucket, layout.name, parent).uri)
    if version.layout.bucket != layout.bucket:
        raise DatasetError(f"parent {version.uri} is not in the data bucket {layout.bucket}: grow it where it lies")
    if conf.multi_label != version.multi_label:
        raise DatasetError(
            f"dataset.multi_label is {conf.multi_label}, that of parent version {version.version} "
            f"{version.multi_label}: all records of a version have labels of one kind; build one without a parent"
        )
    asked, packed = packing.model_dump(), version.packing.model_dump()
    differing = [f"{name} {packed[name]} -> {asked[name]}" for name in asked if asked[name] != packed[name]]
    if differing:
        raise DatasetError(
            f"dataset.packing differs from parent version {version.version} ({', '.join(differing)}): all images of a "
            "version are packed alike; keep the parent's options, or build a version without a parent"
        )
    return version


def _check_every_class_has_images(labels: list[str], selection: Selection, source: str) -> None:
    chosen = {label for image in selection.chosen.values() for label in image.labels}
    empty = [label for label in labels if label not in chosen]
    if empty:
        statuses = Counter(row.status for row in selection.excluded if not set(empty).isdisjoint(row.labels))
        why = f" (left out: {dict(statuses)})" if statuses else ""
        raise DatasetError(
            f"{len(empty)} classes of {source} have no image to pack: {', '.join(empty[:10])}{why}; "
            "add images, or name the other classes in dataset.labels"
        )


def _write_plan(
    s3: S3Client, plan: VersionPlan, selection: Selection, splits: Mapping[str, Split], shard_images: int
) -> VersionPlan:
    layout = plan.layout
    rows = _planned_rows(plan, selection.chosen, splits)
    shards: list[ShardTask] = []
    for split in SPLITS:
        for chunk in _chunks(rows[split], shard_images):
            index = len(shards)
            named = [replace(row, shard=f"{plan.version}/{index:05d}") for row in chunk]
            write_manifest(s3, layout.bucket, layout.planned_shard(index), to_table(named))
            shards.append(ShardTask(index=index, split=split, images=len(chunk), fingerprint=_fingerprint(plan, named)))
    write_manifest(s3, layout.bucket, layout.excluded, to_table(selection.excluded))
    logger.info(
        "Planned %s: %s new images, %s to pack in %s shards (%s), left out: %s",
        layout.uri,
        plan.new_images,
        len(selection.chosen),
        len(shards),
        ", ".join(f"{split} {len(rows[split])}" for split in SPLITS),
        dict(Counter(row.status for row in selection.excluded)) or "none",
    )
    return plan.model_copy(update={"shards": shards, "next_record_id": plan.next_record_id + len(selection.chosen)})


def _planned_rows(
    plan: VersionPlan, chosen: Mapping[str, SourceImage], splits: Mapping[str, Split]
) -> dict[Split, list[ManifestRow]]:
    # Mixed by content, not class after class: training reads a .rec front to back and shuffles only within a window.
    shuffled = sorted(chosen, key=lambda etag: (fraction(plan.split.seed, "order", etag), etag))
    rows: dict[Split, list[ManifestRow]] = {split: [] for split in SPLITS}
    for etag in shuffled:
        rows[splits[etag]].append(ManifestRow.of(chosen[etag], PLANNED, split=splits[etag]))
    record_id = plan.next_record_id
    for split in SPLITS:
        rows[split] = [replace(row, record_id=record_id + place) for place, row in enumerate(rows[split])]
        record_id += len(rows[split])
    return rows


def _chunks(rows: list[ManifestRow], shard_images: int) -> Iterator[list[ManifestRow]]:
    count = -(-len(rows) // shard_images)
    for number in range(count):
        yield rows[len(rows) * number // count : len(rows) * (number + 1) // count]


def _fingerprint(plan: VersionPlan, rows: list[ManifestRow]) -> str:
    digest = hashlib.sha256(f"{plan.packing.model_dump_json()}{plan.labels}{plan.multi_label}".encode())
    for row in rows:
        digest.update(repr((row.bucket, row.key, row.etag, row.labels, row.record_id, row.split)).encode())
    return digest.hexdigest()[:16]
