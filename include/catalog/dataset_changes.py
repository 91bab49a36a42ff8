"""Two versions of a dataset beside each other: which images and classes were added, removed, or given other labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.catalog.dataset_contents import rows_of
from include.datasets.manifest import uris
from include.datasets.source_image import Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion

Integers = npt.NDArray[np.int64]
LISTED = 50
"""Images listed of each kind of change."""
PAIRS = 30
"""Changes of labels listed, the most frequent ones."""
BETWEEN = "\x1f"
"""Between the labels of an image where they are joined to one text; no label holds it."""
GONE = "no longer in the source"


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
    return [[] if column is None else column.slice(0, LISTED).to_pylist() for column in columns]


def _readable(labels: str) -> str:
    return labels.replace(BETWEEN, ", ")
