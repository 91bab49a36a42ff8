r"""A ``.lst`` file as a label table: ``index \t labels ... \t path``, as im2rec writes and reads it.

Fields are stripped, spaces within them stay. One label is the number of a class; of several each is 0 or 1, one for
each class. Source: ``read_list`` and ``write_list`` in MXNet 1.9.1's ``tools/im2rec.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from include.datasets.sources.label_rows import TableRow
from include.datasets.sources.table_formats import FIELD, LabelTableError, RowProblems, checked_path, shortened
from include.datasets.sources.text_document import text_lines
from include.recordio.lists import LEAST_FIELDS, label_number, line_fields

LARGEST_CLASS = 1 << 24
"""Labels are floats of 32 bits: from here on two numbers are one."""


def read_list_rows(uri: str, body: bytes) -> tuple[int, Iterator[TableRow]]:
    """Return how many labels the first line has, and the rows, their labels being numbers from 0 as text.

    Raises LabelTableError with the first wrong lines, once the rows are read.
    """
    lines = ((number, line_fields(text)) for number, text in text_lines(FIELD, uri, body) if text.strip())
    first = next(lines, None)
    if first is None:
        raise LabelTableError(f"{FIELD} {uri} has no rows: write one for each image")
    width = max(len(first[1]) - 2, 1)
    return width, _rows(uri, width, chain([first], lines))


def _rows(uri: str, width: int, lines: Iterator[tuple[int, list[str]]]) -> Iterator[TableRow]:
    problems = RowProblems(uri)
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, fields in lines:
        cells = tuple(fields[1:-1])
        problem = _misshapen(fields, width)
        if problem is None and cells not in known:
            labels = _class_number(cells[0]) if width == 1 else _flagged(cells)
            if isinstance(labels, str):
                problem = labels
            else:
                known[cells] = labels
        if problem is not None:
            problems.add(f"line {number} {problem}")
        else:
            yield TableRow(uri, number, fields[-1], known[cells], None)
    problems.check()


def _misshapen(fields: Sequence[str], width: int) -> str | None:
    if len(fields) < LEAST_FIELDS:
        return f"has {len(fields)} fields between tabs: write an index, a label or several, and a path"
    if len(fields) != width + 2:
        return f"has {len(fields) - 2} labels, the lines before have {width}"
    if not fields[0].lstrip("+-").isdecimal():
        return f"has the index {shortened(fields[0])}: write a whole number"
    wrong = checked_path(fields[-1])
    return f"has the path {shortened(fields[-1])}: {wrong}" if wrong else None


def _class_number(cell: str) -> tuple[str, ...] | str:
    number = label_number(cell)
    if number is None or not 0 <= number < LARGEST_CLASS or not number.is_integer():
        return f"has the label {shortened(cell)}: write the number of its class, 0 or above"
    return (str(int(number)),)


def _flagged(cells: Sequence[str]) -> tuple[str, ...] | str:
    numbers = [label_number(cell) for cell in cells]
    wrong = next((place for place, number in enumerate(numbers) if number not in (0.0, 1.0)), None)
    if wrong is not None:
        return f"has {shortened(cells[wrong])} for class {wrong}: of several labels each is 0 or 1, one for each class"
    return tuple(str(place) for place, number in enumerate(numbers) if number)
