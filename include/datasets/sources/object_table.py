"""Listed objects in memory, sorted by key: as few bytes an object as its key, its ETag and its size take."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, cast

import pyarrow as pa

from include.datasets.sources.listing import Folder
from include.datasets.sources.object_lookup import ListedObject

_COLUMNS: list[pa.Field[Any]] = [
    pa.field("key", pa.large_string()),
    pa.field("etag", pa.string()),
    pa.field("size", pa.int64()),
]
SCHEMA = pa.schema(_COLUMNS)
BATCH_ROWS = 10_000
AFTER_ALL = b"\xff"
"""No key has this byte, as keys are UTF-8: what begins with a prefix stands before the prefix with it."""


class ObjectTable:
    """Objects of one bucket; a table of ``SCHEMA`` in any order, each key once."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.sort_by("key").combine_chunks()
        self._keys = self._table["key"]

    @classmethod
    def of(cls, objects: Iterable[ListedObject]) -> ObjectTable:
        """Gather listed objects."""
        rows = list(objects)
        columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
        return cls(pa.table(columns, schema=SCHEMA))

    def __len__(self) -> int:
        """Count the objects."""
        return self._table.num_rows

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix, in the order of their keys' bytes."""
        first, end = self._first(prefix.encode()), self._first(prefix.encode() + AFTER_ALL)
        for batch in self._table.slice(first, end - first).to_batches(max_chunksize=BATCH_ROWS):
            columns = (column.to_pylist() for column in batch.columns)
            for key, etag, size in zip(*columns, strict=True):
                if size or not key.endswith("/"):
                    yield ListedObject(key, etag, size)

    def folder(self, prefix: str) -> Folder:
        """Tell what stands right under a prefix, leaping over what is in its folders."""
        folders: list[str] = []
        loose: list[ListedObject] = []
        at, end = self._first(prefix.encode()), self._first(prefix.encode() + AFTER_ALL)
        while at < end:
            key = self._key(at)
            name, slash, _ = key[len(prefix) :].partition("/")
            if name and slash:
                folders.append(name)
                at = self._first(f"{prefix}{name}/".encode() + AFTER_ALL)
                continue
            listed = self._object(at)
            if listed.size or not (key == prefix or (slash and key.endswith("/"))):
                loose.append(listed)
            at += 1
        return Folder(tuple(sorted(folders)), tuple(loose))

    def _first(self, start: bytes) -> int:
        return bisect_left(range(len(self)), start, key=lambda at: self._key(at).encode())

    def _key(self, at: int) -> str:
        return cast(str, self._keys[at].as_py())

    def _object(self, at: int) -> ListedObject:
        row = self._table.slice(at, 1).to_pylist()[0]
        return ListedObject(row["key"], row["etag"], row["size"])
