"""The formats of a label table: columns and cells of CSV, Parquet and JSON Lines, told by the ending."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq

from include.datasets.errors import DatasetError, reading_foreign_bytes
from include.datasets.sources.parquet_document import cells_of, open_parquet
from include.datasets.sources.text_document import not_utf8, parse_json, text_lines

FIELD = "dataset.label_tables"
BATCH_ROWS = 10_000
EXAMPLES = 10
LONGEST_PATH = 1100
"""Bytes: an address with a bucket's name of 63 and a key of 1024."""
MOST_ROWS = 10_000_000
"""Rows of a table: of a Parquet document a few kilobytes stand for as many as they like."""
PATH, LABEL, SPLIT = "path", "label", "split"
MEANT = (PATH, LABEL, SPLIT)
"""Columns that say something of their own; where there is no `label` each of the others is a class."""

Cells = Sequence[Any]
Lines = Iterator[tuple[int, Cells]]
"""Cells with the number of their line, 1 being the first; in Parquet of their row."""


class LabelTableError(DatasetError):
    """A label table that says something wrong; the message names its lines."""


class RowProblems:
    """What is wrong with a table's rows: all are counted, the first are kept."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._count = 0
        self._first: list[str] = []

    def add(self, problem: str) -> None:
        """Count a wrong row."""
        self._count += 1
        if len(self._first) < EXAMPLES:
            self._first.append(problem)

    def check(self) -> None:
        """Raise LabelTableError with the first problems, where there are some."""
        if self._count:
            shown = "\n".join(f"  {problem}" for problem in self._first)
            raise LabelTableError(f"{FIELD} {self._uri} has {self._count} wrong rows:\n{shown}")


def checked_path(path: str) -> str | None:
    """Say what is wrong with the path of a row, None where nothing is: longer ones than a key would fill the memory."""
    if not path:
        return "write the image's key or address"
    length = len(path.encode())
    return f"has {length} bytes, and a key at most 1024: correct it" if length > LONGEST_PATH else None


def shortened(cell: object) -> str:
    """Show a cell as Python writes it, cut after 80 characters, without writing all of a long one first."""
    text = repr([_cut(entry) for entry in cell[:5]] if isinstance(cell, list) else _cut(cell))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _cut(cell: object) -> object:
    return cell[:80] if isinstance(cell, str | bytes) else cell


def open_table(uri: str, body: bytes) -> tuple[list[str], Lines]:
    """Return the columns of a table and its lines, which are read as they are asked for.

    Raises LabelTableError for another ending, and for a document that is not what its ending says, once it is read.
    """
    readers: dict[str, Callable[[str, bytes], tuple[list[str], Lines]]] = {
        ".csv": _csv,
        ".parquet": _parquet,
        ".jsonl": _json_lines,
    }
    ending = next((ending for ending in readers if uri.lower().endswith(ending)), None)
    if ending is None:
        raise LabelTableError(
            f"{FIELD} {uri}: must end in {', '.join(readers)}, .manifest or .lst, which says its format"
        )
    return readers[ending](uri, body)


def _csv(uri: str, body: bytes) -> tuple[list[str], Lines]:
    lines = _csv_lines(uri, body)
    _, header = next(lines, (1, []))
    return [name.strip() for name in header], lines


def _csv_lines(uri: str, body: bytes) -> Lines:
    # A StringIO of the text would hold up to four bytes for each of its letters.
    text = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise LabelTableError(f"{FIELD} {uri}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError:
        raise not_utf8(FIELD, uri, body) from None


def _parquet(uri: str, body: bytes) -> tuple[list[str], Lines]:
    def no_parquet(reason: str) -> LabelTableError:
        return LabelTableError(f"{FIELD} {uri} is no Parquet document that can be read: {reason}")

    with reading_foreign_bytes(no_parquet):
        file = open_parquet(io.BytesIO(body))
        names = file.schema_arrow.names
        rows = file.metadata.num_rows
    if rows > MOST_ROWS:
        raise LabelTableError(f"{FIELD} {uri} has {rows} rows, more than {MOST_ROWS}: split the dataset")
    # Of further columns beside a label nothing is read: they may be of any kind.
    needed = [name for name in names if name in MEANT] if LABEL in names else names
    return needed, enumerate(_parquet_rows(uri, file, needed), start=1)


def _parquet_rows(uri: str, file: pq.ParquetFile, names: Sequence[str]) -> Iterator[Cells]:
    row = 0

    def unreadable(reason: str) -> LabelTableError:
        return LabelTableError(
            f"{FIELD} {uri} cannot be read behind row {row}: {reason}: write it again, with texts in 'path' and 'label'"
        )

    with reading_foreign_bytes(unreadable):
        for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
            for cells in zip(*(cells_of(batch.column(name)) for name in names), strict=True):
                yield cells
                row += 1


def _json_lines(uri: str, body: bytes) -> tuple[list[str], Lines]:
    names = dict.fromkeys(name for _, document in json_objects(uri, body) for name in document)
    columns = list(names)
    return columns, ((line, [document.get(name) for name in columns]) for line, document in json_objects(uri, body))


def json_objects(uri: str, body: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines document with the numbers of their lines. Raises LabelTableError."""
    for line, text in text_lines(FIELD, uri, body):
        if not text.strip():
            continue
        try:
            document = parse_json(text)
        except ValueError as error:
            raise LabelTableError(f"{FIELD} {uri}, line {line}: {error}") from error
        if not isinstance(document, dict):
            raise LabelTableError(f"{FIELD} {uri}, line {line}: {text[:80]} is no JSON object")
        yield line, document
