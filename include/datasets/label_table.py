"""A label table: a CSV, Parquet or JSON Lines document in S3 with one row for each image."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PATH, LABEL, SPLIT = "path", "label", "split"
FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, 0: False, 1: True}
"""Cells of a class column; the numbers stand for 0.0, 1.0, false and true as well."""
EXAMPLES = 10
BATCH_ROWS = 10_000

Cells = Sequence[Any]
Lines = Iterator[tuple[int, Cells]]
"""Cells with the number of their line, 1 being the first; in Parquet of their row."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image: where its row stands, and what it says."""

    line: int
    path: str
    labels: tuple[str, ...]
    split: str | None


@dataclass(frozen=True, slots=True)
class LabelTable:
    """``classes`` in the order of their columns, or sorted where a ``label`` column names them."""

    uri: str
    classes: tuple[str, ...]
    rows: tuple[TableRow, ...]


class LabelTableError(DatasetError):
    """A label table that cannot be read; the message names its lines."""


def read_label_table(s3: S3Client, uri: str) -> LabelTable:
    """Read the table at ``uri``, whose ending says its format.

    Beside ``path`` it has either ``label`` (a class name; in Parquet and JSON Lines also a list of them) and whatever
    other columns, or a 0/1 column for each class and none else; and ``split`` where splits are given. Raises
    LabelTableError with the first lines that are wrong.
    """
    columns, lines = _reader(uri)(uri, _body(s3, uri))
    _check_columns(uri, columns)
    named = LABEL in columns
    flagged = [] if named else [name for name in columns if name not in (PATH, SPLIT)]
    rows = _Rows(uri, columns, flagged).read(lines)
    if not rows:
        raise LabelTableError(f"dataset.label_tables {uri} has no rows: write one for each image")
    classes = sorted({label for row in rows for label in row.labels}) if named else flagged
    return LabelTable(uri, tuple(classes), tuple(rows))


class _Rows:
    """Reads rows and gathers what is wrong with them."""

    def __init__(self, uri: str, columns: Sequence[str], classes: Sequence[str]) -> None:
        self._uri = uri
        self._width = len(columns)
        self._path = columns.index(PATH)
        self._label = columns.index(LABEL) if LABEL in columns else None
        self._split = columns.index(SPLIT) if SPLIT in columns else None
        self._classes = classes
        self._places = [columns.index(name) for name in classes]
        self._problems: list[str] = []

    def read(self, lines: Lines) -> list[TableRow]:
        """Read all rows. Raises LabelTableError with the first wrong ones."""
        rows = [row for line, cells in lines if (row := self._row(line, cells)) is not None]
        if self._problems:
            shown = "\n".join(f"  {problem}" for problem in self._problems[:EXAMPLES])
            raise LabelTableError(f"dataset.label_tables {self._uri} has {len(self._problems)} wrong rows:\n{shown}")
        return rows

    def _row(self, line: int, cells: Cells) -> TableRow | None:
        if len(cells) != self._width:
            self._problems.append(f"line {line} has {len(cells)} cells, the header {self._width}")
            return None
        path, split = cells[self._path], None if self._split is None else cells[self._split]
        if not isinstance(path, str) or not path:
            self._problems.append(f"line {line}: path = {path!r}: write the image's key or address")
            return None
        labels = self._named(line, cells[self._label]) if self._label is not None else self._flagged(line, cells)
        return None if labels is None else TableRow(line, path, labels, str(split).strip() if split else None)

    def _named(self, line: int, cell: Any) -> tuple[str, ...] | None:
        names = cell if isinstance(cell, list) else [] if cell is None or cell == "" else [cell]
        wrong = [name for name in names if not isinstance(name, str | int) or isinstance(name, bool)]
        if wrong:
            self._problems.append(f"line {line}: label = {cell!r}: write a class name")
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
            self._problems.append(
                f"line {line}: {name} = {cell!r}: write 0 or 1, or name the class in a column 'label'"
            )
            return None
        return tuple(compress(self._classes, flags))


def _is_flag(cell: Any) -> bool:
    return isinstance(cell, str | int | float) and cell in FLAGS


def _check_columns(uri: str, columns: Sequence[str]) -> None:
    table = f"dataset.label_tables {uri}"
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


def _reader(uri: str) -> Callable[[str, bytes], tuple[list[str], Lines]]:
    readers = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}
    ending = next((ending for ending in readers if uri.endswith(ending)), None)
    if ending is None:
        raise LabelTableError(f"dataset.label_tables {uri}: must end in {', '.join(readers)}, which says its format")
    return readers[ending]


def _csv(uri: str, body: bytes) -> tuple[list[str], Lines]:
    _text(uri, body)
    lines = _csv_lines(uri, body)
    _, header = next(lines, (1, []))
    return [name.strip() for name in header], lines


def _csv_lines(uri: str, body: bytes) -> Lines:
    # A StringIO of the text would hold four bytes for each of its letters.
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise LabelTableError(f"dataset.label_tables {uri}, line {reader.line_num}: {error}") from error


def _parquet(uri: str, body: bytes) -> tuple[list[str], Lines]:
    try:
        table = pq.read_table(io.BytesIO(body))
    except pa.ArrowInvalid as error:
        raise LabelTableError(f"dataset.label_tables {uri} is no Parquet document: {error}") from error
    return table.column_names, enumerate(_parquet_rows(table), start=1)


def _parquet_rows(table: pa.Table) -> Iterator[Cells]:
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _json_lines(uri: str, body: bytes) -> tuple[list[str], Lines]:
    documents: list[tuple[int, dict[str, Any]]] = []
    for line, text in enumerate(_text(uri, body).split("\n"), start=1):
        if text.strip():
            documents.append((line, _json_object(uri, line, text)))
    columns = list(dict.fromkeys(name for _, document in documents for name in document))
    return columns, ((line, [document.get(name) for name in columns]) for line, document in documents)


def _json_object(uri: str, line: int, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise LabelTableError(f"dataset.label_tables {uri}, line {line}: {error}") from error
    if not isinstance(document, dict):
        raise LabelTableError(f"dataset.label_tables {uri}, line {line}: {text[:80]} is no JSON object")
    return document


def _text(uri: str, body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelTableError(
            f"dataset.label_tables {uri} is not UTF-8 (byte {error.start}): save it as UTF-8"
        ) from None


def _body(s3: S3Client, uri: str) -> bytes:
    bucket, key = parse_s3_uri(uri)
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == 404:
            raise LabelTableError(f"dataset.label_tables {uri} does not exist: correct the address") from None
        if code in (401, 403):
            raise LabelTableError(f"dataset.label_tables {uri} may not be read: give the role s3:GetObject") from error
        raise


def _some(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in list(names)[:EXAMPLES]) or "none"
