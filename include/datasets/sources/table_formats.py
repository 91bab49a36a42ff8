"""The formats of a label table: columns and cells of CSV, Parquet and JSON Lines, told by the ending."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.datasets.errors import DatasetError
from include.datasets.sources.text_document import not_utf8, text_lines

FIELD = "dataset.label_tables"
BATCH_ROWS = 10_000
EXAMPLES = 10

Cells = Sequence[Any]
Lines = Iterator[tuple[int, Cells]]
"""Cells with the number of their line, 1 being the first; in Parquet of their row."""


class LabelTableError(DatasetError):
    """A label table that says something wrong; the message names its lines."""


def check_rows(uri: str, problems: Sequence[str]) -> None:
    """Raise LabelTableError with the first problems of a table's rows, where there are some."""
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:EXAMPLES])
        raise LabelTableError(f"{FIELD} {uri} has {len(problems)} wrong rows:\n{shown}")


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
        raise LabelTableError(f"{FIELD} {uri}: must end in {', '.join(readers)} or .lst, which says its format")
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
    try:
        file = pq.ParquetFile(io.BytesIO(body))
    except pa.ArrowInvalid as error:
        raise LabelTableError(f"{FIELD} {uri} is no Parquet document: {error}") from error
    return file.schema_arrow.names, enumerate(_parquet_rows(file), start=1)


def _parquet_rows(file: pq.ParquetFile) -> Iterator[Cells]:
    for batch in file.iter_batches(BATCH_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _json_lines(uri: str, body: bytes) -> tuple[list[str], Lines]:
    names = dict.fromkeys(name for _, document in _json_objects(uri, body) for name in document)
    columns = list(names)
    return columns, ((line, [document.get(name) for name in columns]) for line, document in _json_objects(uri, body))


def _json_objects(uri: str, body: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in text_lines(FIELD, uri, body):
        if not text.strip():
            continue
        try:
            document = json.loads(text)
        except ValueError as error:
            raise LabelTableError(f"{FIELD} {uri}, line {line}: {error}") from error
        if not isinstance(document, dict):
            raise LabelTableError(f"{FIELD} {uri}, line {line}: {text[:80]} is no JSON object")
        yield line, document
