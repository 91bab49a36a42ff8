"""The rows of label tables in memory: columns, of which a row is made when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

_COLUMNS: list[pa.Field[Any]] = [
    pa.field("table", pa.int32()),
    pa.field("line", pa.int64()),
    pa.field("path", pa.large_string()),
    pa.field("label_set", pa.int32()),
    pa.field("split", pa.string()),
    pa.field("status", pa.string()),
    pa.field("reason", pa.string()),
]
ROWS = pa.schema(_COLUMNS)
BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image: where its row stands, and what it says."""

    table: str
    """Address of the table."""
    line: int
    path: str
    labels: tuple[str, ...]
    split: str | None
    """As it is written."""
    status: str | None = None
    """In the manifest, of a row whose image is left out; None for all others."""
    reason: str | None = None


class LabelRows:
    """Rows in the order of the tables and their lines; each set of labels is kept once.

    Rows are added table after table, then ``close`` is called; only then are they looked at.
    """

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = tuple(tables)
        self.label_sets: list[tuple[str, ...]] = []
        self._places: dict[tuple[str, ...], int] = {}
        self._batches: list[pa.RecordBatch] = []
        self.columns = ROWS.empty_table()
        """A table of ``ROWS``: ``table`` and ``label_set`` are places in the lists of this object."""

    def __len__(self) -> int:
        """Count the rows."""
        return sum(batch.num_rows for batch in self._batches)

    def __iter__(self) -> Iterator[TableRow]:
        """Look at the rows in order."""
        for batch in self._batches:
            for table, line, path, label_set, *rest in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                yield TableRow(self.tables[table], line, path, self.label_sets[label_set], *rest)

    @property
    def labels(self) -> set[str]:
        """Every label of a row."""
        return {label for labels in self.label_sets for label in labels}

    def add(self, table: int, rows: Iterable[TableRow]) -> None:
        """Take the rows of a table."""
        remaining = iter(rows)
        places = self._places
        while batch := list(islice(remaining, BATCH_ROWS)):
            columns: list[list[Any]] = [
                [table] * len(batch),
                [row.line for row in batch],
                [row.path for row in batch],
                [places.setdefault(row.labels, len(places)) for row in batch],
                [row.split for row in batch],
                [row.status for row in batch],
                [row.reason for row in batch],
            ]
            self._batches.append(_batch(columns))

    def close(self) -> None:
        """Let the rows be looked at."""
        self.label_sets = list(self._places)
        self._places = {}
        self.columns = pa.Table.from_batches(self._batches, ROWS)

    def rename(self, name: Callable[[str], str]) -> None:
        """Give every label another name."""
        self.label_sets = [tuple(map(name, labels)) for labels in self.label_sets]


def _batch(values: Sequence[list[Any]]) -> pa.RecordBatch:
    columns = [pa.array(column, kind) for column, kind in zip(values, ROWS.types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)
