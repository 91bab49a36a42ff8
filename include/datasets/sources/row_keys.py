"""Which object each row of a label table names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.sources.class_folders import bucket_and_prefix
from include.datasets.sources.image_list import ImageList
from include.datasets.sources.label_rows import TableRow
from include.datasets.sources.label_table import LabelTable
from include.datasets.sources.table_formats import EXAMPLES, FIELD, LabelTableError


@dataclass(frozen=True, slots=True)
class RowKeys:
    """The keys of rows, row after row, and the bucket of all of them."""

    bucket: str
    keys: pa.ChunkedArray[pa.LargeStringScalar]


def row_keys(table: LabelTable, source: str, image_list: ImageList | None = None) -> RowKeys:
    """Find the object of each row: by its address, or by its key relative to the source.

    Where there is an image list, a row without an address may also give the key in full, or the last part of it, from a
    slash on, that one image of the list alone has: its file name. Raises LabelTableError where rows name several
    buckets, images of the list that cannot be told apart, or an image again.
    """
    own_bucket, prefix = bucket_and_prefix(source)
    places = _ListPlaces(image_list, prefix) if image_list else None
    buckets: dict[str, TableRow | None] = {image_list.bucket: None} if image_list else {}
    keys: list[pa.LargeStringArray] = []
    ambiguous: list[tuple[TableRow, list[str]]] = []
    strange: list[tuple[TableRow, str]] = []
    for rows in _batches(table.rows):
        batch: list[str] = []
        for row in rows:
            if "://" in row.path:
                try:
                    bucket, key = parse_s3_uri(row.path)
                except DatasetError:
                    strange.append((row, repr(row.path)))
                    continue
            elif places:
                candidates = places.of(row.path)
                bucket, key = places.bucket, candidates[0]
                if len(candidates) > 1:
                    ambiguous.append((row, candidates))
            else:
                bucket, key = own_bucket, f"{prefix}{row.path}"
            buckets.setdefault(bucket, row)
            batch.append(key)
        keys.append(pa.array(batch, pa.large_string()))
    if strange:
        raise wrong_rows(table, strange, "name what is no S3 address", "write s3://bucket/key, or a key")
    _check_one_bucket(table, buckets, image_list)
    if ambiguous:
        shown = ((row, f"{row.path!r} is {' or '.join(map(repr, keys[:3]))}") for row, keys in ambiguous)
        raise wrong_rows(table, shown, "name several images of dataset.image_list", "write more of the key")
    found = RowKeys(next(iter(buckets)), pa.chunked_array(keys, pa.large_string()))
    _check_each_once(table, found)
    return found


def wrong_rows(table: LabelTable, wrong: Iterable[tuple[TableRow, str]], what: str, remedy: str) -> LabelTableError:
    """Say what is wrong with rows, and show of the first of them what they write."""
    rows = list(wrong)
    examples = "; ".join(f"{place_of(table, row)}: {shown}" for row, shown in rows[:EXAMPLES])
    return LabelTableError(f"{FIELD} {table}: {len(rows)} rows {what} ({examples}): {remedy}")


def place_of(table: LabelTable, row: TableRow) -> str:
    """Name the line of a row, and where there are several tables its own."""
    file = f"{row.table.rpartition('/')[2]}, " if len(table.uris) > 1 else ""
    return f"{file}line {row.line}"


class _ListPlaces:
    """The keys of an image list by what rows may write."""

    def __init__(self, image_list: ImageList, prefix: str) -> None:
        self.bucket = image_list.bucket
        self._prefix = prefix
        self._keys = image_list.lines
        self._by_name: dict[str, list[str]] = {}

    def of(self, path: str) -> list[str]:
        """Return the key that a row means, several where they cannot be told apart; what it says where none is."""
        relative = f"{self._prefix}{path}"
        exact = next((key for key in (relative, path) if key in self._keys), None)
        if exact is not None:
            return [exact]
        if not self._by_name:
            self._by_name = defaultdict(list)
            for key in self._keys:
                self._by_name[key.rpartition("/")[2]].append(key)
        tail = f"/{path}"
        ending = [key for key in self._by_name.get(path.rpartition("/")[2], []) if key.endswith(tail)]
        return ending or [relative]


def _batches(rows: Iterable[TableRow]) -> Iterator[list[TableRow]]:
    batch: list[TableRow] = []
    for row in rows:
        batch.append(row)
        if len(batch) == 10_000:
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


def _check_each_once(table: LabelTable, found: RowKeys) -> None:
    if pc.count_distinct(found.keys).as_py() == len(found.keys):
        return
    first: dict[str, TableRow] = {}
    repeated: list[tuple[TableRow, str]] = []
    for row, key in zip(table.rows, cast("list[str]", found.keys.to_pylist()), strict=True):
        before = first.setdefault(key, row)
        if before is not row:
            repeated.append((row, f"{row.path!r}, as {place_of(table, before)}"))
    raise wrong_rows(table, repeated, "name an image again", "an image has one row")
