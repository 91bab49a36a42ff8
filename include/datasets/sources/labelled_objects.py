"""A source whose images and labels are the rows of label tables, and which object each row names."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.layout import bucket_and_prefix, named_split
from include.datasets.manifest import BATCH_ROWS, batches
from include.datasets.source_image import (
    CLASS_NOT_ASKED,
    NAMED_AND_ABSENT,
    LeftOut,
    SourceImage,
    Status,
    system_name,
    system_reason,
)
from include.datasets.sources.image_list import (
    LINES,
    ImageList,
    UnmatchedLine,
    explain_mismatch,
    folded,
    is_address,
    match_otherwise,
    readings,
    split_address,
)
from include.datasets.sources.label_table import LabelTable
from include.datasets.sources.listing import ListedObject
from include.datasets.sources.table_formats import EXAMPLES, FIELD, LabelTableError, TableRow

if TYPE_CHECKING:
    from include.datasets.layout import Split
    from include.datasets.sources.listing import Listing
    from include.run_conf.dataset import Negatives

log = logging.getLogger(__name__)


class LabelledObjects:
    """The objects that label tables name, all in one bucket, which `listing_of` lists.

    With an image list its images are all there are: rows that name others have no image, and images without a row no
    label. `test_as` is the split of the images that the tables call test; `negatives` says what becomes of images
    of a multi-label source that show none of the labels. Raises LabelTableError where rows contradict each other, name
    several buckets, or a split that is none.
    """

    def __init__(
        self,
        listing_of: Callable[[str], Listing],
        uri: str,
        table: LabelTable,
        *,
        image_list: ImageList | None = None,
        multi_label: bool = False,
        negatives: Negatives = "keep",
        test_as: Split = "test",
    ) -> None:
        self._table = table
        self._list = image_list
        self._multi_label = multi_label
        self._keeps_negatives = multi_label and negatives == "keep"
        self._splits = _splits(table, test_as)
        self.uri = uri
        self.classes = table.classes
        self.class_place = f"rows in {table}"
        self._objects = row_objects(table, uri, listing_of, image_list)
        self.bucket = self._objects.bucket
        own_bucket, prefix = bucket_and_prefix(uri)
        self._prefix = prefix if own_bucket == self.bucket else ""
        self.given_splits = frozenset(self._splits.values())

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """The existing images that belong to at least one of the classes, in the order of their rows.

        Of a multi-label source also those that belong to none, unless they are dropped. Raises LabelTableError for rows
        with several of the classes, unless the source is multi-label.
        """
        order = list(labels)
        chosen = self._chosen(order)
        several: list[TableRow] = []
        for row in self._rows():
            names = chosen[row["label_set"]]
            if len(names) > 1 and not self._multi_label:
                several.append(self._table_row(row))
            if self._why_left_out(row, names, len(order)) is None:
                yield self._image(row, names)
        if several:
            shown = ((row, repr(row.labels)) for row in several)
            raise _wrong_rows(self._table, shown, "have several labels", "set dataset.multi_label, or keep one label")

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        """The images that belong to none of the classes or have no row, and the rows that have no object."""
        order = list(labels)
        chosen = self._chosen(order)
        for row in self._rows():
            names = chosen[row["label_set"]]
            why = self._why_left_out(row, names, len(order))
            if why is not None:
                own = self._table.rows.label_sets[row["label_set"]]
                yield LeftOut(self._image(row, own if why[0] == Status.NOT_ASKED else names), *why)
        if self._list is not None:
            yield from self._without_row(self._list)

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:
        """Count the images of a multi-label source by the labels they show beside those that were asked for."""
        order = set(labels)
        counts: Counter[str] = Counter()
        if self._multi_label and not order.issuperset(self._table.rows.labels):
            sizes = pc.value_counts(self._row_table["label_set"].filter(pc.is_valid(self._row_table["etag"])))
            for place, size in zip(*(sizes.field(name).to_pylist() for name in ("values", "counts")), strict=True):
                for label in set(self._table.rows.label_sets[place]) - order:
                    counts[label] += size
        return dict(counts)

    def unmatched(self) -> str:
        """Explain why rows name no object; empty where each does."""
        absent = islice((row for row in self._rows() if row["etag"] is None), LINES)
        rows = [self._table_row(row) for row in absent]
        lines = [UnmatchedLine(place_of(self._table, row), row.path) for row in rows]
        said = explain_mismatch(lines, self._objects.listing, self._prefix)
        return f"{FIELD} {self._table}: {said}" if said else self._objects.listing.unmatched()

    def _why_left_out(self, row: Mapping[str, Any], names: tuple[str, ...], classes: int) -> tuple[Status, str] | None:
        """Status and reason of a row whose image is not packed; None where it is."""
        if row["system"] is not None:
            return Status.SYSTEM_FILE, system_reason(row["system"])
        if row["status"] is not None:
            return Status(row["status"]), row["reason"]
        if not names and not self._multi_label:
            has_labels = bool(self._table.rows.label_sets[row["label_set"]])
            return (
                (Status.NOT_ASKED, CLASS_NOT_ASKED)
                if has_labels
                else (Status.UNLABELLED, "its row of the label table is empty")
            )
        if not names and not self._keeps_negatives:
            return Status.SKIPPED, f"it shows none of the {classes} labels, and dataset.negatives is drop"
        return (Status.MISSING, self._why_missing(row)) if row["etag"] is None else None

    def _without_row(self, image_list: ImageList) -> Iterator[LeftOut]:
        named = set(cast("list[str]", self._objects.keys.to_pylist()))
        others = [key for key in image_list.lines if key not in named]
        found = self._objects.listing.find(others)
        for key in others:
            if key in found:
                image, status = found[key].as_image(self.bucket), Status.UNLABELLED
                reason = "dataset.image_list names it, but no row of the label tables does"
            else:
                image, status, reason = SourceImage(self.bucket, key, "", 0, ()), Status.MISSING, NAMED_AND_ABSENT
            yield LeftOut.of(image, below=key.removeprefix(self._prefix), status=status, reason=reason)

    def _why_missing(self, row: Mapping[str, Any]) -> str:
        place = place_of(self._table, self._table_row(row))
        unlisted = self._list is not None and row["key"] not in self._list.lines
        why = "dataset.image_list does not" if unlisted else "it is not there"
        candidates = self._objects.ambiguous.get(row["key"])
        if candidates:
            why = f"several keys differ from it in upper and lower case only: {', '.join(candidates[:3])}"
        return f"{place} of the label table names it, but {why}"

    def _image(self, row: Mapping[str, Any], names: tuple[str, ...]) -> SourceImage:
        split = self._splits.get(row["split"]) if row["split"] else None
        return SourceImage(self.bucket, row["key"], row["etag"] or "", row["size"] or 0, names, split)

    def _table_row(self, row: Mapping[str, Any]) -> TableRow:
        rows = self._table.rows
        labels = rows.label_sets[row["label_set"]]
        return TableRow(rows.tables[row["table"]], row["line"], row["path"], labels, row["split"])

    def _chosen(self, labels: Iterable[str]) -> list[tuple[str, ...]]:
        """The asked classes of each set of labels, in class order."""
        order = {label: index for index, label in enumerate(labels)}
        return [
            tuple(sorted((label for label in labels if label in order), key=order.__getitem__))
            for labels in self._table.rows.label_sets
        ]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for batch in self._row_table.to_batches(max_chunksize=BATCH_ROWS):
            yield from batch.to_pylist()

    @cached_property
    def _row_table(self) -> pa.Table:
        """The rows with the keys, ETags and sizes of their objects; null if there is none."""
        found, prefix = self._objects.found, self._prefix
        etags: list[pa.StringArray] = []
        sizes: list[pa.Int64Array] = []
        systems: list[pa.StringArray] = []
        for chunk in self._objects.keys.chunks:
            keys = cast("list[str]", chunk.to_pylist())
            objects = [found.get(key) for key in keys]
            etags.append(pa.array([each.etag if each else None for each in objects], pa.string()))
            sizes.append(pa.array([each.size if each else None for each in objects], pa.int64()))
            systems.append(pa.array([system_name(key.removeprefix(prefix)) for key in keys], pa.string()))
        return (
            self._table.rows.columns.append_column("key", self._objects.keys)
            .append_column("etag", pa.chunked_array(etags, pa.string()))
            .append_column("size", pa.chunked_array(sizes, pa.int64()))
            .append_column("system", pa.chunked_array(systems, pa.string()))
        )


def _splits(table: LabelTable, test_as: Split) -> dict[str, Split]:
    """What each name of a split means. Raises LabelTableError where one means none."""
    names = cast("list[str]", pc.unique(table.rows.columns["split"].drop_null()).to_pylist())
    splits = {name: split for name in names if (split := named_split(name, test_as=test_as))}
    if len(splits) < len(names):
        unknown = ((row, repr(row.split)) for row in table.rows if row.split and row.split not in splits)
        raise _wrong_rows(table, unknown, "name no split", "write train, validation or test")
    return splits


@dataclass(frozen=True, slots=True)
class RowObjects:
    """The keys of rows, row after row, the bucket of all of them, and the objects that exist."""

    bucket: str
    keys: pa.ChunkedArray[pa.LargeStringScalar]
    listing: Listing
    found: dict[str, ListedObject]
    ambiguous: dict[str, list[str]]
    """By the key of a row without an object: the keys that differ from it in upper and lower case only."""


def row_objects(
    table: LabelTable, source: str, listing_of: Callable[[str], Listing], image_list: ImageList | None = None
) -> RowObjects:
    """Find the object of each row: by its address, or by its key relative to the source.

    Rows that are not keys word for word are matched otherwise, as lines of image lists are. Where there is an image
    list, a row without an address may also give the last part of a key, from a slash on, that one image of the
    list alone has: its file name. Raises LabelTableError where rows name several buckets, images of the list that
    cannot be distinguished, or an image again.
    """
    _, prefix = bucket_and_prefix(source)
    bucket, keys = _keys_as_written(table, source, image_list)
    listing = listing_of(bucket)
    found = listing.find(cast("list[str]", keys.to_pylist()))
    ambiguous: dict[str, list[str]] = {}
    if image_list is None and len(found) < len(keys):
        keys, ambiguous = _keys_otherwise(table, keys, prefix, listing, found)
    _check_each_once(table, keys)
    return RowObjects(bucket, keys, listing, found, ambiguous)


def _wrong_rows(table: LabelTable, wrong: Iterable[tuple[TableRow, str]], what: str, remedy: str) -> LabelTableError:
    """What is wrong with rows, and what the first of them write."""
    rows = list(wrong)
    examples = "; ".join(f"{place_of(table, row)}: {shown}" for row, shown in rows[:EXAMPLES])
    return LabelTableError(f"{FIELD} {table}: {len(rows)} rows {what} ({examples}): {remedy}")


def place_of(table: LabelTable, row: TableRow) -> str:
    """The line of a row, and where there are several tables its own."""
    file = f"{row.table.rpartition('/')[2]}, " if len(table.uris) > 1 else ""
    return f"{file}line {row.line}"


def _keys_as_written(
    table: LabelTable, source: str, image_list: ImageList | None
) -> tuple[str, pa.ChunkedArray[pa.LargeStringScalar]]:
    """The bucket, and the key that each row is word for word, or in the image list."""
    own_bucket, prefix = bucket_and_prefix(source)
    places = _ListPlaces(image_list, prefix) if image_list else None
    buckets: dict[str, TableRow | None] = {image_list.bucket: None} if image_list else {}
    keys: list[pa.LargeStringArray] = []
    strange: list[tuple[TableRow, str]] = []
    ambiguous: list[tuple[TableRow, list[str]]] = []
    for rows in batches(table.rows):
        batch: list[str] = []
        for row in rows:
            bucket, key = own_bucket, f"{prefix}{row.path}"
            if is_address(row.path):
                place = split_address(row.path)
                bucket, key = place or (own_bucket, row.path)
                if place is None:
                    strange.append((row, repr(row.path)))
            elif places:
                bucket, candidates = places.bucket, places.of(row.path)
                key = candidates[0]
                if len(candidates) > 1:
                    ambiguous.append((row, candidates))
            buckets.setdefault(bucket, row)
            batch.append(key)
        keys.append(pa.array(batch, pa.large_string()))
    if strange:
        raise _wrong_rows(table, strange, "name what is not an S3 address", "write s3://bucket/key, or a key")
    _check_one_bucket(table, buckets, image_list)
    if ambiguous:
        shown = ((row, f"{row.path!r} is {' or '.join(map(repr, keys[:3]))}") for row, keys in ambiguous)
        raise _wrong_rows(table, shown, "name several images of dataset.image_list", "write more of the key")
    return next(iter(buckets)), pa.chunked_array(keys, pa.large_string())


def _keys_otherwise(
    table: LabelTable,
    keys: pa.ChunkedArray[pa.LargeStringScalar],
    prefix: str,
    listing: Listing,
    found: dict[str, ListedObject],
) -> tuple[pa.ChunkedArray[pa.LargeStringScalar], dict[str, list[str]]]:
    """Replace the keys of rows that mean an object but do not write its key; adds the objects to `found`."""
    written = cast("list[str]", keys.to_pylist())
    keys_of = {
        key: readings(key, "") if is_address(row.path) else readings(row.path, prefix)
        for row, key in zip(table.rows, written, strict=True)
        if key not in found
    }
    matches = match_otherwise(keys_of, listing, prefix, found)
    if matches.objects:
        real = {key: listed.key for key, listed in matches.objects.items()}
        example = next(iter(real.items()))
        log.info("%s %s: %s rows name an object by another key, such as %r for %r", FIELD, table, len(real), *example)
        found |= {listed.key: listed for listed in matches.objects.values()}
        chunks = [[real.get(key, key) for key in cast("list[str]", chunk.to_pylist())] for chunk in keys.chunks]
        keys = pa.chunked_array([pa.array(chunk, pa.large_string()) for chunk in chunks], pa.large_string())
    return keys, matches.ambiguous


class _ListPlaces:
    """The keys of an image list by what rows may write."""

    def __init__(self, image_list: ImageList, prefix: str) -> None:
        self.bucket = image_list.bucket
        self._prefix = prefix
        self._keys = image_list.lines
        self._by_name: dict[str, list[str]] = {}

    def of(self, path: str) -> list[str]:
        """The key that a row means, several if they cannot be distinguished; what it says if none does."""
        keys = readings(path, self._prefix)
        meant = next((key for key in keys if key in self._keys), None)
        if meant is not None:
            return [meant]
        if not self._by_name:
            self._by_name = defaultdict(list)
            for key in self._keys:
                self._by_name[folded(key.rpartition("/")[2])].append(key)
        tails = [f"/{key.removeprefix(self._prefix)}" for key in keys]
        named = list(dict.fromkeys(key for tail in tails for key in self._by_name.get(_folded_name(tail), ())))
        ending = [key for key in named if key.endswith(tuple(tails))]
        if not ending:
            other_case = tuple(map(folded, tails))
            ending = [key for key in named if f"/{folded(key)}".endswith(other_case)]
        return ending or keys[:1]


def _folded_name(path: str) -> str:
    return folded(path.rpartition("/")[2])


def _check_one_bucket(table: LabelTable, buckets: dict[str, TableRow | None], image_list: ImageList | None) -> None:
    if len(buckets) <= 1:
        return
    what = f"name images in {len(buckets)} buckets ({', '.join(buckets)})"
    if image_list is not None:
        what = f"name images in another bucket than {image_list.bucket}, that of dataset.image_list"
    rows = ((row, repr(row.path)) for row in buckets.values() if row is not None)
    raise _wrong_rows(table, rows, what, "copy them into one")


def _check_each_once(table: LabelTable, keys: pa.ChunkedArray[pa.LargeStringScalar]) -> None:
    if pc.count_distinct(keys).as_py() == len(keys):
        return
    first: dict[str, TableRow] = {}
    repeated: list[tuple[TableRow, str]] = []
    for row, key in zip(table.rows, cast("list[str]", keys.to_pylist()), strict=True):
        before = first.setdefault(key, row)
        if before is not row:
            repeated.append((row, f"{row.path!r}, as {place_of(table, before)}"))
    raise _wrong_rows(table, repeated, "name an image a second time", "an image has one row")
