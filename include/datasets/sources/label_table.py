"""Label tables: documents in S3 with one row for each image, read as one, with the names of the classes they know."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from include.datasets.labels import read_document
from include.datasets.layout import named_split
from include.datasets.manifest import batches
from include.datasets.source_image import Status
from include.datasets.sources.table_formats import (
    EXAMPLES,
    FIELD,
    LABEL,
    PATH,
    SPLIT,
    Cells,
    LabelTableError,
    Lines,
    RowProblems,
    TableRow,
    checked_path,
    is_output_manifest,
    open_table,
    read_list_rows,
    read_output_manifest,
    shortened,
)
from include.run_conf.dataset import GroundTruthConf

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LONGEST_NAME = 1024
"""Letters of the name of a class or split."""
FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, 0: False, 1: True}
"""Cells of a class column; the numbers stand for 0.0, 1.0, false and true as well."""
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


class LabelRows:
    """Rows in the order of the tables and their lines; each set of labels is kept once.

    Rows are added table after table, then `close` is called; only then are they checked.
    """

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = tuple(tables)
        self.label_sets: list[tuple[str, ...]] = []
        self._places: dict[tuple[str, ...], int] = {}
        self._batches: list[pa.RecordBatch] = []
        self.columns = ROWS.empty_table()
        """A table of `ROWS`: `table` and `label_set` are places in the lists of this object."""

    def __len__(self) -> int:
        """Count the rows."""
        return sum(batch.num_rows for batch in self._batches)

    def __iter__(self) -> Iterator[TableRow]:
        """Look at the rows in order."""
        for batch in self._batches:
            columns = (column.to_pylist() for column in batch.columns)
            for table, line, path, label_set, split, status, reason in zip(*columns, strict=True):
                became = Status(status) if status else None
                yield TableRow(self.tables[table], line, path, self.label_sets[label_set], split, became, reason)

    @property
    def labels(self) -> set[str]:
        """Every label of a row."""
        return {label for labels in self.label_sets for label in labels}

    def add(self, table: int, rows: Iterable[TableRow]) -> None:
        """Take the rows of a table."""
        places = self._places
        for batch in batches(rows):
            values: list[list[Any]] = [
                [table] * len(batch),
                [row.line for row in batch],
                [row.path for row in batch],
                [places.setdefault(row.labels, len(places)) for row in batch],
                [row.split for row in batch],
                [row.status for row in batch],
                [row.reason for row in batch],
            ]
            columns = [pa.array(cells, kind) for cells, kind in zip(values, ROWS.types, strict=True)]
            self._batches.append(pa.RecordBatch.from_arrays(columns, schema=ROWS))

    def close(self) -> None:
        """Let the rows be checked."""
        self.label_sets = list(self._places)
        self._places = {}
        self.columns = pa.Table.from_batches(self._batches, ROWS)

    def rename(self, name: Callable[[str], str]) -> None:
        """Give every label another name."""
        self.label_sets = [tuple(map(name, labels)) for labels in self.label_sets]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The rows of one table or several, and the classes they know.

    `classes` are in the order of their columns or numbers, or sorted where a column `label` names them.
    """

    uris: tuple[str, ...]
    classes: tuple[str, ...]
    rows: LabelRows

    def __str__(self) -> str:
        """The tables."""
        return ", ".join(self.uris)


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Names in the order of their numbers, 0 being the first, and where they come from."""

    origin: str
    """`dataset.labels`, or `dataset.labels_file` with its address."""
    names: Sequence[str]
    complete: bool
    """They are the names of all classes, of which a version may take some."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a table says labels: in `words`, and the classes with columns of their own."""

    words: str
    columns: tuple[str, ...] = ()
    numbered: bool = False

    def differs(self, other: _Kind) -> bool:
        return (self.words, set(self.columns), self.numbered) != (other.words, set(other.columns), other.numbered)


def read_label_tables(
    s3: S3Client,
    uris: Sequence[str],
    names: ClassNames | None = None,
    ground_truth: GroundTruthConf = GroundTruthConf(),  # noqa: B008  (it never changes)
) -> LabelTable:
    """Read tables one after the other as one; their endings say their formats.

    A table has beside `path` either `label` (a class name; in Parquet and JSON Lines also a list of them) and
    whatever other columns, or a 0/1 column for each class and none else; and `split` where splits are given. Without
    that column a file whose name ends in a split's name gives its rows that split. The classes of a `.lst` are
    numbers, and `names` the names behind them; of an output manifest of Ground Truth `ground_truth` says which
    labels count. Raises LabelTableError with the first lines that are wrong, and for tables of different kinds.
    """
    rows, kinds = LabelRows(uris), []
    for number, uri in enumerate(uris):
        kind, read = _read_table(uri, read_document(s3, FIELD, uri), ground_truth)
        before = len(rows)
        rows.add(number, read)
        if len(rows) == before:
            raise LabelTableError(f"{FIELD} {uri} has no rows: write one for each image")
        kinds.append(kind)
    rows.close()
    kind = kinds[0]
    other = next((at for at, each in enumerate(kinds) if each.differs(kind)), None)
    if other is not None:
        raise LabelTableError(
            f"{FIELD}: {uris[0]} has {kind.words}, but {uris[other]} {kinds[other].words}"
            f"{_difference(kind, kinds[other])}: all tables must have their labels in the same form"
        )
    if kind.numbered:
        return LabelTable(tuple(uris), _named_by_number(rows, kind.columns, names), rows)
    return LabelTable(tuple(uris), kind.columns or tuple(sorted(rows.labels)), rows)


def _read_table(uri: str, body: bytes, ground_truth: GroundTruthConf) -> tuple[_Kind, Iterator[TableRow]]:
    split = _split_of_file(uri)
    if uri.lower().endswith(".lst"):
        width, rows = read_list_rows(uri, body)
        words = "one label per line" if width == 1 else f"{width} labels per line"
        columns = tuple(map(str, range(width))) if width > 1 else ()
        return _Kind(words, columns, numbered=True), (replace(row, split=split) for row in rows)
    if is_output_manifest(uri, body):
        return _Kind("a column 'label'"), read_output_manifest(uri, body, ground_truth, split)
    names, lines = open_table(uri, body)
    _check_columns(uri, names)
    flagged = [] if LABEL in names else [name for name in names if name not in (PATH, SPLIT)]
    kind = _Kind("a column for each class", tuple(flagged)) if flagged else _Kind("a column 'label'")
    return kind, _Rows(uri, names, flagged, split).read(lines)


def _split_of_file(uri: str) -> str | None:
    word = re.split(r"[\W_]+", PurePosixPath(uri).stem)[-1]
    return word if named_split(word) else None


def _difference(first: _Kind, second: _Kind) -> str:
    differing = sorted(set(first.columns) ^ set(second.columns))
    return f" (not in both: {_some(differing)})" if first.words == second.words else ""


class _Rows:
    """Reads rows and gathers what is wrong with them."""

    def __init__(self, uri: str, columns: Sequence[str], classes: Sequence[str], split: str | None) -> None:
        self._uri = uri
        self._file_split = split
        self._width = len(columns)
        self._path = columns.index(PATH)
        self._label = columns.index(LABEL) if LABEL in columns else None
        self._split = columns.index(SPLIT) if SPLIT in columns else None
        self._classes = classes
        self._places = [columns.index(name) for name in classes]
        self._problems = RowProblems(uri)

    def read(self, lines: Lines) -> Iterator[TableRow]:
        """Read all rows. Raises LabelTableError with the first wrong ones, after the last."""
        for line, cells in lines:
            row = self._row(line, cells)
            if row is not None:
                yield row
        self._problems.check()

    def _row(self, line: int, cells: Cells) -> TableRow | None:
        if len(cells) != self._width:
            self._problems.add(f"line {line} has {len(cells)} cells, the header {self._width}")
            return None
        path = cells[self._path]
        wrong = checked_path(path) if isinstance(path, str) else "write the image's key or address"
        if wrong is not None:
            self._problems.add(f"line {line}: path = {shortened(path)}: {wrong}")
            return None
        split = self._split_of(cells)
        if split and len(split) > LONGEST_NAME:
            self._problems.add(f"line {line}: split = {shortened(split)}: write train, validation or test")
            return None
        labels = self._named(line, cells[self._label]) if self._label is not None else self._flagged(line, cells)
        return None if labels is None else TableRow(self._uri, line, path, labels, split)

    def _split_of(self, cells: Cells) -> str | None:
        if self._split is None:
            return self._file_split
        cell = cells[self._split]
        return str(cell).strip() or None if cell else None

    def _named(self, line: int, cell: Any) -> tuple[str, ...] | None:
        names = cell if isinstance(cell, list) else [] if cell is None or cell == "" else [cell]
        wrong = [name for name in names if not isinstance(name, str | int) or isinstance(name, bool)]
        if wrong:
            self._problems.add(f"line {line}: label = {shortened(cell)}: write a class name")
            return None
        if any(len(str(name)) > LONGEST_NAME for name in names):
            self._problems.add(
                f"line {line}: label = {shortened(cell)}: a class name has at most {LONGEST_NAME} letters"
            )
            return None
        return tuple(dict.fromkeys(str(name).strip() for name in names))

    def _flagged(self, line: int, cells: Cells) -> tuple[str, ...] | None:
        try:
            flags = [FLAGS[cells[place]] for place in self._places]
        except (KeyError, TypeError):
            name, cell = next(
                (name, cells[place])
                for name, place in zip(self._classes, self._places, strict=True)
                if not _is_flag(cells[place])
            )
            self._problems.add(
                f"line {line}: {name} = {shortened(cell)}: write 0 or 1, or name the class in a column 'label'"
            )
            return None
        return tuple(compress(self._classes, flags))


def _is_flag(cell: Any) -> bool:
    return isinstance(cell, str | int | float) and cell in FLAGS


def _check_columns(uri: str, columns: Sequence[str]) -> None:
    table = f"{FIELD} {uri}"
    if PATH not in columns:
        raise LabelTableError(
            f"{table} has no column 'path' (it has {_some(columns)}): name in it each image's key relative to "
            "dataset.source, or its s3:// address"
        )
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise LabelTableError(f"{table} has several columns {_some(repeated)}: keep one of each")
    if "" in columns:
        raise LabelTableError(f"{table} has a column without a name: name it or remove it")
    if not set(columns) - {PATH, SPLIT}:
        raise LabelTableError(f"{table} has no labels: add a column 'label', or a 0/1 column for each class")


def _some(names: Iterable[str]) -> str:
    return ", ".join(shortened(name) for name in list(names)[:EXAMPLES]) or "none"


def are_numbers(names: Iterable[str]) -> bool:
    """Whether names are numbers themselves, written as a class without a name is called."""
    return all(name.isdecimal() and str(int(name)) == name for name in names)


def _named_by_number(rows: LabelRows, columns: Sequence[str], given: ClassNames | None) -> tuple[str, ...]:
    """Name the classes of rows whose labels are numbers, in the order of their numbers.

    `columns` are the numbers of the columns where there are several. Without names a class is called by its number,
    and so it is where `dataset.labels` names nothing but numbers that are there: it chooses among them then. Raises
    LabelTableError where there are fewer names than numbers, or, unless they are complete, more.
    """
    numbers = sorted(map(int, columns or rows.labels))
    if given is None or (not given.complete and set(given.names) <= set(map(str, numbers))):
        return tuple(map(str, numbers))
    count = numbers[-1] + 1 if numbers else 0
    exact = bool(columns) or not given.complete
    if len(given.names) < count or (exact and len(given.names) != count):
        beyond = {str(number) for number in numbers if number >= len(given.names)}
        raise LabelTableError(
            f"{FIELD} {', '.join(rows.tables)}: the classes are numbered from 0 to {count - 1}, but {given.origin} "
            f"names {len(given.names)}{_first_beyond(rows, beyond)}: name all {count} in the order of their numbers"
            + ("" if given.complete else ", or in dataset.labels_file, and choose some in dataset.labels")
        )
    names = given.names
    rows.rename(lambda number: names[int(number)])
    return tuple(names[number] for number in numbers)


def _first_beyond(rows: LabelRows, beyond: set[str]) -> str:
    found = (f"line {row.line}: {max(row.labels, key=int)}" for row in rows if not beyond.isdisjoint(row.labels))
    shown = "; ".join(islice(found, EXAMPLES)) if beyond else ""
    return f" ({shown})" if shown else ""
