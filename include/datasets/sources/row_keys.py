"""Which object each row of a label table names."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.sources.class_folders import bucket_and_prefix
from include.datasets.sources.image_list import ImageList
from include.datasets.sources.label_rows import TableRow
from include.datasets.sources.label_table import LabelTable
from include.datasets.sources.object_lookup import ListedObject
from include.datasets.sources.paths import folded, is_address, match_otherwise, readings, split_address
from include.datasets.sources.table_formats import EXAMPLES, FIELD, LabelTableError

if TYPE_CHECKING:
    from include.datasets.sources.listing import Listing

logger = logging.getLogger(__name__)

BATCH_ROWS = 10_000


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

    Rows that are not keys word for word are read as ``include.datasets.sources.paths`` reads them. Where there is an
    image list, a row without an address may also give the last part of a key, from a slash on, that one image of the
    list alone has: its file name. Raises LabelTableError where rows name several buckets, images of the list that
    cannot be told apart, or an image again.
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


def wrong_rows(table: LabelTable, wrong: Iterable[tuple[TableRow, str]], what: str, remedy: str) -> LabelTableError:
    """Say what is wrong with rows, and show of the first of them what they write."""
    rows = list(wrong)
    examples = "; ".join(f"{place_of(table, row)}: {shown}" for row, shown in rows[:EXAMPLES])
    return LabelTableError(f"{FIELD} {table}: {len(rows)} rows {what} ({examples}): {remedy}")


def place_of(table: LabelTable, row: TableRow) -> str:
    """Name the line of a row, and where there are several tables its own."""
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
    for rows in _batches(table.rows):
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
        raise wrong_rows(table, strange, "name what is no S3 address", "write s3://bucket/key, or a key")
    _check_one_bucket(table, buckets, image_list)
    if ambiguous:
        shown = ((row, f"{row.path!r} is {' or '.join(map(repr, keys[:3]))}") for row, keys in ambiguous)
        raise wrong_rows(table, shown, "name several images of dataset.image_list", "write more of the key")
    return next(iter(buckets)), pa.chunked_array(keys, pa.large_string())


def _keys_otherwise(
    table: LabelTable,
    keys: pa.ChunkedArray[pa.LargeStringScalar],
    prefix: str,
    listing: Listing,
    found: dict[str, ListedObject],
) -> tuple[pa.ChunkedArray[pa.LargeStringScalar], dict[str, list[str]]]:
    """Replace the keys of rows that mean an object but do not write its key; adds the objects to ``found``."""
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
        logger.info(
            "%s %s: %s rows name an object by another key, such as %r for %r", FIELD, table, len(real), *example
        )
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
        """Return the key that a row means, several where they cannot be told apart; what it says where none is."""
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


def _batches(rows: Iterable[TableRow]) -> Iterator[list[TableRow]]:
    batch: list[TableRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_one_bucket(table: LabelTable, buckets: dict[str, TableRow | None], image_list: ImageList | None) -> None:
    if len(buckets) <= 1:
        return
    what = f"name images in {len(buckets)} buckets ({', '.join(buckets)})"
    if image_list is not None:
        what = f"name images in another bucket than {image_list.bucket}, that of dataset.image_list"
    rows = ((row, repr(row.path)) for row in buckets.values() if row is not None)
    raise wrong_rows(table, rows, what, "copy them into one")


def _check_each_once(table: LabelTable, keys: pa.ChunkedArray[pa.LargeStringScalar]) -> None:
    if pc.count_distinct(keys).as_py() == len(keys):
        return
    first: dict[str, TableRow] = {}
    repeated: list[tuple[TableRow, str]] = []
    for row, key in zip(table.rows, cast("list[str]", keys.to_pylist()), strict=True):
        before = first.setdefault(key, row)
        if before is not row:
            repeated.append((row, f"{row.path!r}, as {place_of(table, before)}"))
    raise wrong_rows(table, repeated, "name an image again", "an image has one row")
