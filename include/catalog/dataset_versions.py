"""The versions of datasets: which there are, what one of them holds, and what changed between two.

What became of each source image, and a contact sheet, are read from a version's manifest and records. What is kept of
them is small, whatever the version's size.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.catalog.models import registered_datasets
from include.datasets.dataset_page import first_rows, reasons_by_status
from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS, Split, VersionLayout
from include.datasets.manifest import read_manifest, uris
from include.datasets.packed_images import PackedImages, contact_sheet
from include.datasets.plan import find_new_images
from include.datasets.source_image import BAD, NOT_MEANT, Status
from include.datasets.version import find
from include.retraining import dataset_conf, dataset_names
from include.run_conf import DatasetConf

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.settings import Settings

MOST_COUNTED = 200_000
"""Source images up to which new ones are counted for a page: the count holds the version's manifest in memory."""
MOST_ROWS = 500_000
"""Source images of a version whose manifest a page reads: it takes about 300 bytes of memory for each, for a moment."""
LISTED_OF_A_STATUS = 20
"""Images listed of each status."""
LISTED_OF_A_CHANGE = 50
"""Images listed of each kind of change."""
PAIRS = 30
"""Changes of labels listed, the most frequent ones."""
BETWEEN = "\x1f"
"""Between the labels of an image where they are joined to one text; no label holds it."""
GONE = "no longer in the source"

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VersionSummary:
    """The counts of a dataset version, of images.

    `new` are those that its parent did not know. `bad` were meant to be packed and could not be; `left_out` were not
    meant to be: other classes, duplicates, files that are not images of the source.
    """

    version: str
    created: datetime
    parent: str
    images: int
    train: int
    validation: int
    test: int
    classes: int
    new: int
    bad: int
    left_out: int

    @classmethod
    def of(cls, version: DatasetVersion) -> VersionSummary:
        """The counts in a version's document."""
        counts, statuses = version.counts, version.statuses
        return cls(
            version=version.version,
            created=version.created,
            parent=VersionLayout.of_uri(version.parent).version if version.parent else "",
            images=counts.total,
            train=counts.train,
            validation=counts.validation,
            test=counts.test,
            classes=version.num_classes,
            new=version.new_images,
            bad=sum(count for status, count in statuses.items() if status in BAD),
            left_out=sum(count for status, count in statuses.items() if status in NOT_MEANT),
        )


def read_summary(s3: S3Client, layout: VersionLayout) -> VersionSummary | None:
    """The counts of a version; None if it is not published."""
    version = find(s3, layout)
    return None if version is None else VersionSummary.of(version)


def known_datasets(client: Callable[[str], Any], settings: Settings) -> tuple[str, ...]:
    """The datasets with a version in S3 or a model in the registry."""
    of_models = registered_datasets(client("sagemaker"), settings)
    return tuple(sorted({*dataset_names(client("s3"), settings.data_bucket), *of_models}))


def images_waiting(s3: S3Client, version: DatasetVersion) -> str:
    """How many images of the source a version does not know, in words."""
    addresses = version.source.addresses
    if not all(address.startswith("s3://") and address.endswith("/") for address in addresses):
        return "not counted: the source is not a folder in S3"
    if sum(version.statuses.values()) > MOST_COUNTED:
        return f"not counted: the source has more than {MOST_COUNTED:,} images"
    new = find_new_images(s3, dataset_conf(DatasetConf(), version), version)
    classes = f", and new classes: {', '.join(new.new_labels)}" if new.new_labels else ""
    return f"{new.count:,}{classes}"


@dataclass(frozen=True)
class RefusedImage:
    """A source image that is not packed, and why."""

    uri: str
    reason: str


@dataclass(frozen=True)
class StatusAccount:
    """The images of one status: how many, the most frequent reasons with their images, and the first of the images.

    `further` is how many other reasons there are.
    """

    status: str
    images: int
    is_bad: bool
    reasons: tuple[tuple[str, int], ...]
    further: int
    first: tuple[RefusedImage, ...]


@dataclass(frozen=True)
class SheetImage:
    """An image of a contact sheet: `picture` is a data address, empty if the record cannot be read."""

    uri: str
    labels: str
    split: Split
    width: int
    height: int
    picture: str
    trouble: str


def read_accounts(s3: S3Client, version: DatasetVersion) -> tuple[StatusAccount, ...]:
    """What became of the images that are not packed, the bad ones first."""
    manifest = rows_of(s3, version, ["bucket", "key", "status", "reason"])
    manifest = manifest.filter(pc.field("status") != Status.PACKED)
    reasons = reasons_by_status(manifest)
    left_out = {status: count for status, count in version.statuses.items() if count and status != Status.PACKED}
    return tuple(
        StatusAccount(
            status=status,
            images=left_out[status],
            is_bad=status in BAD,
            reasons=tuple(reasons.get(status, ([], 0))[0]),
            further=reasons.get(status, ([], 0))[1],
            first=tuple(
                RefusedImage(f"s3://{row['bucket']}/{row['key']}", row["reason"] or "")
                for row in first_rows(manifest, status, LISTED_OF_A_STATUS)
            ),
        )
        for status in sorted(left_out, key=lambda status: (status not in BAD, -left_out[status], status))
    )


def read_sheet(s3: S3Client, version: DatasetVersion, *, label: str = "", split: str = "") -> tuple[SheetImage, ...]:
    """Some sixty images of a version, or of one of its classes, or of one split; the same request gives the same ones.

    Raises DatasetError for a class or split that the version does not have.
    """
    if label and label not in version.labels:
        raise DatasetError(f"version {version.version} has no class {label!r}")
    if split and split not in SPLITS:
        raise DatasetError(f"there is no split {split!r}: a version has {', '.join(SPLITS)}")
    columns = ["bucket", "key", "labels", "split", "status", "width", "height", "offset"]
    layout = version.layout
    sizes = {
        each: s3.head_object(Bucket=layout.bucket, Key=layout.records(each))["ContentLength"]
        for each in SPLITS
        if version.count(each)
    }
    packed = PackedImages.of(rows_of(s3, version, columns), version.labels, sizes)
    chosen = np.ones(packed.rows.num_rows, bool)
    if split:
        chosen &= packed.splits == SPLITS.index(split)
    if label:
        of_label = packed.label_rows[packed.label_codes == version.labels.index(label)]
        chosen &= np.isin(np.arange(packed.rows.num_rows), of_label)
    found = contact_sheet(s3, layout, packed.only(chosen), version.num_classes)
    return tuple(
        SheetImage(
            uri=image.uri,
            labels=", ".join(image.labels),
            split=image.split,
            width=image.width,
            height=image.height,
            picture=f"data:image/jpeg;base64,{base64.b64encode(image.jpeg).decode()}" if image.jpeg else "",
            trouble=image.trouble,
        )
        for image in found
    )


def rows_of(s3: S3Client, version: DatasetVersion, columns: Sequence[str]) -> Any:
    """Columns of the manifest. Raises DatasetError for one with too many rows for a page to read."""
    rows = sum(version.statuses.values())
    if rows > MOST_ROWS:
        raise DatasetError(
            f"version {version.version} has {rows:,} source images, and pages read up to {MOST_ROWS:,}: its report "
            "shows them, and manifest.parquet lists each"
        )
    return read_manifest(s3, version.layout.bucket, version.layout.manifest, list(columns))


@dataclass(frozen=True)
class ChangedImage:
    """An image with its labels in the older and the newer version; empty where it is in no split."""

    uri: str
    before: str
    now: str
    note: str = ""


@dataclass(frozen=True)
class ClassChange:
    """The images of a class in both versions; None if it is not one of the version's classes."""

    label: str
    before: int | None
    now: int | None
    added: int
    removed: int
    gained: int
    lost: int
    """Images that came from another class, and went to one."""


@dataclass(frozen=True)
class VersionChanges:
    """What became of the packed images of one version in another.

    An image is the same if it has the same address, or the same content. `moved` images have the same content and
    labels at another address, `replaced` ones another content at the same address.
    """

    same: int
    added: int
    removed: int
    relabelled: int
    replaced: int
    moved: int
    other_split: int
    reordered: bool
    classes: tuple[ClassChange, ...]
    pairs: tuple[tuple[str, str, int], ...]
    why_removed: tuple[tuple[str, int], ...]
    first_added: tuple[ChangedImage, ...]
    first_removed: tuple[ChangedImage, ...]
    first_relabelled: tuple[ChangedImage, ...]


@dataclass(frozen=True)
class _Packed:
    """The packed images of a version as columns of one length; `labels` are joined to one text."""

    uri: Any
    etag: Any
    labels: Any
    split: Any

    @classmethod
    def of(cls, manifest: pa.Table) -> _Packed:
        rows = manifest.filter(pc.field("status") == Status.PACKED)
        labels: Any = pc.binary_join(rows["labels"], BETWEEN)
        columns = uris(rows), rows["etag"], labels, rows["split"]
        return cls(*(column.combine_chunks() for column in columns))

    def take(self, places: Integers) -> _Packed:
        chosen = pa.array(places)
        return _Packed(*(column.take(chosen) for column in (self.uri, self.etag, self.labels, self.split)))


@dataclass(frozen=True)
class _Moves:
    """Images added and removed by label, and relabelled ones by their joined labels before and now."""

    added: Counter[str]
    removed: Counter[str]
    relabels: Counter[tuple[str, str]]


def compare_versions(s3: S3Client, older: DatasetVersion, newer: DatasetVersion) -> VersionChanges:
    """Compare the packed images of two versions by their manifests, which are in memory meanwhile.

    Raises DatasetError for a version with too many images for a page to read its manifest.
    """
    columns = ["bucket", "key", "etag", "labels", "split", "status", "reason"]
    older_rows, newer_rows = rows_of(s3, older, columns), rows_of(s3, newer, columns)
    before, now = _Packed.of(older_rows), _Packed.of(newer_rows)
    place = _same_images(before, now)
    kept = np.flatnonzero(place >= 0)
    then, since = before.take(place[kept]), now.take(kept)
    relabelled = _differ(then.labels, since.labels)
    replaced = _differ(then.etag, since.etag)
    moved = _differ(then.uri, since.uri) & ~relabelled
    is_gone = np.ones(len(before.uri), bool)
    is_gone[place[kept]] = False
    added, gone = now.take(np.flatnonzero(place < 0)), before.take(np.flatnonzero(is_gone))
    status, reason = _why_gone(gone, newer_rows)
    changed = np.flatnonzero(relabelled)
    other, own = then.take(changed), since.take(changed)
    relabels = Counter(zip(other.labels.to_pylist(), own.labels.to_pylist(), strict=True))
    return VersionChanges(
        same=len(kept),
        added=len(added.uri),
        removed=len(gone.uri),
        relabelled=len(changed),
        replaced=int((replaced & ~moved).sum()),
        moved=int(moved.sum()),
        other_split=int(_differ(then.split, since.split).sum()),
        reordered=_is_reordered(older, newer),
        classes=tuple(_classes(older, newer, _Moves(_counts(added.labels), _counts(gone.labels), relabels))),
        pairs=tuple((_readable(old), _readable(new), count) for (old, new), count in relabels.most_common(PAIRS)),
        why_removed=tuple((row["values"] or GONE, row["counts"]) for row in pc.value_counts(status).to_pylist()),
        first_added=tuple(ChangedImage(*row) for row in _first(added, None, added.labels)),
        first_removed=tuple(
            ChangedImage(uri, before, "", GONE if each is None else ": ".join(filter(None, (each, why))))
            for (uri, before, _), each, why in zip(
                _first(gone, gone.labels, None), *_heads(status, reason), strict=True
            )
        ),
        first_relabelled=tuple(ChangedImage(*row) for row in _first(own, other.labels, own.labels)),
    )


def _same_images(before: _Packed, now: _Packed) -> Integers:
    """The place in the older version of each image of the newer one, -1 if it is new there."""
    place = _places(now.uri, before.uri)
    taken = np.zeros(len(before.uri), bool)
    taken[place[place >= 0]] = True
    new, free = np.flatnonzero(place < 0), np.flatnonzero(~taken)
    by_content = _places(now.etag.take(pa.array(new)), before.etag.take(pa.array(free)))
    found = by_content >= 0
    place[new[found]] = free[by_content[found]]
    return place


def _places(values: Any, among: Any) -> Integers:
    found: Integers = pc.fill_null(pc.index_in(values, value_set=among), -1).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def _differ(one: Any, other: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.not_equal(one, other).to_numpy(zero_copy_only=False), bool)


def _why_gone(gone: _Packed, newer: pa.Table) -> tuple[Any, Any]:
    """The status of each image that left in the newer version, and why; null for one that its source does not have."""
    place = _places(gone.uri, uris(newer).combine_chunks())
    at: Any = pa.array(place, mask=place < 0)
    return newer["status"].combine_chunks().take(at), newer["reason"].combine_chunks().take(at)


def _counts(labels: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(labels).to_pylist():
        counts.update(dict.fromkeys(entry["values"].split(BETWEEN), entry["counts"]))
    return counts


def _classes(older: DatasetVersion, newer: DatasetVersion, moves: _Moves) -> Iterator[ClassChange]:
    """Every class of either version, in the order of the newer one."""
    lost: Counter[str] = Counter()
    gained: Counter[str] = Counter()
    for (before, now), count in moves.relabels.items():
        old, new = set(before.split(BETWEEN)), set(now.split(BETWEEN))
        lost.update(dict.fromkeys(old - new, count))
        gained.update(dict.fromkeys(new - old, count))
    for label in dict.fromkeys([*newer.labels, *older.labels]):
        yield ClassChange(
            label=label,
            before=older.class_counts[label].total if label in older.class_counts else None,
            now=newer.class_counts[label].total if label in newer.class_counts else None,
            added=moves.added[label],
            removed=moves.removed[label],
            gained=gained[label],
            lost=lost[label],
        )


def _is_reordered(older: DatasetVersion, newer: DatasetVersion) -> bool:
    """Whether a class that both versions have has another index."""
    places = {label: place for place, label in enumerate(newer.labels)}
    return any(places.get(label, place) != place for place, label in enumerate(older.labels))


def _first(images: _Packed, before: Any, now: Any) -> list[tuple[str, str, str]]:
    names, *labels = _heads(images.uri, before, now)
    then, since = ([_readable(each) for each in column] or [""] * len(names) for column in labels)
    return [(f"s3://{name}", old, new) for name, old, new in zip(names, then, since, strict=True)]


def _heads(*columns: Any) -> list[list[Any]]:
    return [[] if column is None else column.slice(0, LISTED_OF_A_CHANGE).to_pylist() for column in columns]


def _readable(labels: str) -> str:
    return labels.replace(BETWEEN, ", ")
