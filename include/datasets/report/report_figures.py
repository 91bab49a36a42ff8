"""What a manifest's rows come to, counted in columns: a version of a million images has a page too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import SPLITS, Split
from include.datasets.manifest import CONFLICT, DUPLICATE, PACKED

Integers = npt.NDArray[np.int64]

REASONS = 3
MOST_PAIRED = 1000
"""Labels, the most frequent ones, whose pairs are counted: a matrix of 8 MB."""


@dataclass(frozen=True)
class PackedImages:
    """The packed rows of a manifest as arrays, all of one length but the two of labels."""

    rows: pa.Table
    splits: Integers
    """Index into SPLITS."""
    record_bytes: Integers
    """Length of each record in its `.rec`, with frame and padding."""
    label_rows: Integers
    """With `label_codes` a pair for every label of every image: the image's row, ascending."""
    label_codes: Integers
    """Index of the class."""

    @classmethod
    def of(cls, manifest: pa.Table, labels: Sequence[str], sizes: Mapping[Split, int]) -> PackedImages:
        """Read a version's manifest; `sizes` are the bytes of its record files."""
        rows = manifest.filter(pc.field("status") == PACKED)
        names = cast("pa.ListArray[Any]", _one_chunk(rows["labels"]))
        codes = _numbers(pc.index_in(pc.list_flatten(names), value_set=pa.array(labels, pa.string())))
        owners = _numbers(pc.list_parent_indices(names))
        splits = _numbers(pc.index_in(rows["split"], value_set=pa.array(SPLITS, pa.string())))
        ends = _numbers(pa.array([sizes.get(split, 0) for split in SPLITS], pa.int64()))
        return cls(
            rows=rows,
            splits=splits,
            record_bytes=_record_bytes(splits, _numbers(rows["offset"]), ends),
            label_rows=owners[codes >= 0],
            label_codes=codes[codes >= 0],
        )

    def pixels(self, column: str) -> Integers:
        """Width or height of every image in pixels, -1 where it is not known."""
        return _numbers(self.rows[column])

    def labels_per_image(self) -> Integers:
        """Number of images by number of labels: `[without any, with one, with two, ...]`."""
        return np.bincount(np.bincount(self.label_rows, minlength=self.rows.num_rows))

    def new_per_class(self, version: str, classes: int) -> tuple[int, Integers]:
        """Images that this version packed itself, in all and by class."""
        new = pc.starts_with(self.rows["shard"], f"{version}/").to_numpy(zero_copy_only=False).astype(bool)
        return int(new.sum()), np.bincount(self.label_codes[new[self.label_rows]], minlength=classes)


@dataclass(frozen=True)
class LabelPairs:
    """How often two labels stand on one image: `counts` is symmetric, its diagonal the labels' own images."""

    labels: tuple[str, ...]
    counts: Integers

    @classmethod
    def of(cls, packed: PackedImages, labels: Sequence[str]) -> LabelPairs:
        """Count the pairs of the most frequent labels, which stay in class order."""
        frequency = np.bincount(packed.label_codes, minlength=len(labels))
        chosen = most_frequent(frequency, MOST_PAIRED)
        places = np.full(len(labels), -1, np.int64)
        places[chosen] = np.arange(len(chosen))
        codes, owners = places[packed.label_codes], packed.label_rows
        codes, owners = codes[codes >= 0], owners[codes >= 0]
        return cls(tuple(labels[number] for number in chosen), _pair_counts(codes, owners, len(chosen)))

    def most_frequent(self, number: int) -> LabelPairs:
        """Keep so many labels, in class order."""
        kept = most_frequent(self.counts.diagonal(), number)
        return LabelPairs(tuple(self.labels[place] for place in kept), self.counts[np.ix_(kept, kept)])

    def ranked(self, number: int) -> list[tuple[str, str, int, float]]:
        """The most frequent pairs: both labels, their images, and these as a share of the rarer label's images."""
        first, second = np.triu_indices(len(self.labels), 1)
        images = self.counts[first, second]
        best = np.argsort(-images, kind="stable")[:number]
        own = self.counts.diagonal()
        return [
            (self.labels[a], self.labels[b], int(both), float(both / min(own[a], own[b])))
            for a, b, both in zip(first[best], second[best], images[best], strict=True)
            if both
        ]


def most_frequent(counts: Integers, number: int) -> Integers:
    """Places of the largest counts, in ascending order of place."""
    return np.sort(np.argsort(-counts, kind="stable")[:number])


def reasons_by_status(manifest: pa.Table) -> dict[str, tuple[list[tuple[str, int]], int]]:
    """The most frequent reasons of each status with their rows, and how many further reasons there are.

    Not of duplicates and conflicts, whose reason names the other object.
    """
    told = manifest.select(["status", "reason"]).filter(~pc.field("status").isin([CONFLICT, DUPLICATE]))
    told = told.filter(pc.is_valid(told["reason"]))
    grouped = told.group_by(["status", "reason"], use_threads=False).aggregate([([], "count_all")])
    ranked = grouped.sort_by([("count_all", "descending"), ("reason", "ascending")])
    found: dict[str, tuple[list[tuple[str, int]], int]] = {}
    for status in cast("list[str]", pc.unique(grouped["status"]).to_pylist()):
        of_status = ranked.filter(pc.field("status") == status)
        rows = of_status.slice(0, REASONS).to_pylist()
        found[status] = [(row["reason"], row["count_all"]) for row in rows], of_status.num_rows - len(rows)
    return found


def first_rows(manifest: pa.Table, status: str, number: int) -> list[dict[str, Any]]:
    """The first rows of a status: `bucket`, `key`, `status`, `reason`."""
    names = manifest.select(["bucket", "key", "status", "reason"])
    return names.filter(pc.field("status") == status).slice(0, number).to_pylist()


def _record_bytes(splits: Integers, offsets: Integers, ends: Integers) -> Integers:
    """A record ends where the next one of its file begins, the last one with the file."""
    order = np.lexsort((offsets, splits))
    starts, files = offsets[order], splits[order]
    following = np.append(starts[1:], 0)
    last = np.append(files[1:] != files[:-1], True)[: len(files)]
    following = following[: len(files)]
    following[last] = ends[files[last]]
    lengths = np.empty_like(starts)
    lengths[order] = following - starts
    return lengths


def _pair_counts(codes: Integers, owners: Integers, labels: int) -> Integers:
    """Compare each label with the next one of its image, then with the one after, until no image has so many."""
    counts = np.diag(np.bincount(codes, minlength=labels)).ravel()
    for distance in range(1, len(codes)):
        together = owners[:-distance] == owners[distance:]
        if not together.any():
            break
        pairs = codes[:-distance][together] * labels + codes[distance:][together]
        counts += np.bincount(pairs, minlength=labels * labels)
    square = counts.reshape(labels, labels)
    return square + np.triu(square, 1).T + np.tril(square, -1).T


def _numbers(column: Any) -> Integers:
    array = _one_chunk(column)
    return cast("Integers", pc.fill_null(pc.cast(array, pa.int64()), -1).to_numpy(zero_copy_only=False))


def _one_chunk(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
