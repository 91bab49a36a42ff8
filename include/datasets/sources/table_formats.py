r"""The formats of a label table: CSV, Parquet, JSON Lines, `.lst` and the output manifests of SageMaker Ground Truth.

The first three give columns and cells, the others rows: their documents say labels in one way only.

A `.lst` has lines `index \t labels ... \t path`, as im2rec writes and reads them. Fields are stripped, spaces within
them stay. One label is the number of a class; of several each is 0 or 1, one for each class. Source: `read_list` and
`write_list` in MXNet 1.9.1's `tools/im2rec.py`.

An output manifest is JSON Lines with `source-ref` and an image's labels. A labeling job adds to each line its label
attribute, and beside it `<attribute>-metadata` with `class-name` and `confidence`, of a job with several labels
`class-map` and `confidence-map`. Chained jobs leave several attributes in a line. Source: SageMaker developer guide,
"Labeling job output data".
"""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from include.datasets.errors import DatasetError, reading_foreign_bytes
from include.datasets.labels import cells_of, not_utf8, open_parquet, parse_json, text_lines
from include.datasets.source_image import Status
from include.recordio.format import LEAST_FIELDS, label_number, line_fields

if TYPE_CHECKING:
    from include.run_conf.dataset import GroundTruthConf

log = logging.getLogger(__name__)

FIELD = "dataset.label_tables"
BATCH_ROWS = 10_000
EXAMPLES = 10
LONGEST_PATH = 1100
"""Bytes: an address with a bucket's name of 63 and a key of 1024."""
MOST_ROWS = 10_000_000
"""Rows of a table: of a Parquet document a few kilobytes stand for as many as they like."""
PATH, LABEL, SPLIT = "path", "label", "split"
MEANT = (PATH, LABEL, SPLIT)
"""Columns that say something of their own; if there is no `label` each of the others is a class."""

Cells = Sequence[Any]
Lines = Iterator[tuple[int, Cells]]
"""Cells with the number of their line, 1 being the first; in Parquet of their row."""
LARGEST_CLASS = 1 << 24
"""Labels are floats of 32 bits: from here on two numbers are one."""
MANIFEST_ENDING = ".manifest"
SOURCE_REF, SOURCE, METADATA = "source-ref", "source", "-metadata"
BUILT_IN, CUSTOM = "groundtruth/", "groundtruth/custom"
CLASSIFICATION = "groundtruth/image-classification"
"""The beginning of the type of single-label and multi-label jobs over images."""
YES = ("yes", "true")
OPTIONS = "dataset.ground_truth"
Document = Mapping[str, Any]


class LabelTableError(DatasetError):
    """A label table that says something wrong; the message names its lines."""


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
    status: Status | None = None
    """In the manifest, of a row whose image is left out; None for all others."""
    reason: str | None = None


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
    """What is wrong with the path of a row, None where nothing is: longer ones than a key would fill the memory."""
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
    """The columns of a table and its lines, which are read as they are asked for.

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
            f"{FIELD} {uri}: must end in {', '.join(readers)}, .manifest or .lst, which shows its format"
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
        return LabelTableError(f"{FIELD} {uri} is not a Parquet document that can be read: {reason}")

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
            f"{FIELD} {uri} cannot be read after row {row}: {reason}: write it again, with texts in 'path' and 'label'"
        )

    with reading_foreign_bytes(unreadable):
        for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
            for cells in zip(*(cells_of(batch.column(name)) for name in names), strict=True):
                yield cells
                row += 1


def _json_lines(uri: str, body: bytes) -> tuple[list[str], Lines]:
    names = dict.fromkeys(name for _, document in _json_objects(uri, body) for name in document)
    columns = list(names)
    return columns, ((line, [document.get(name) for name in columns]) for line, document in _json_objects(uri, body))


def _json_objects(uri: str, body: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSON Lines document with the numbers of their lines. Raises LabelTableError."""
    for line, text in text_lines(FIELD, uri, body):
        if not text.strip():
            continue
        try:
            document = parse_json(text)
        except ValueError as error:
            raise LabelTableError(f"{FIELD} {uri}, line {line}: {error}") from error
        if not isinstance(document, dict):
            raise LabelTableError(f"{FIELD} {uri}, line {line}: {text[:80]} is not a JSON object")
        yield line, document


def read_list_rows(uri: str, body: bytes) -> tuple[int, Iterator[TableRow]]:
    """How many labels the first line has, and the rows, their labels being numbers from 0 as text.

    Raises LabelTableError with the first wrong lines, once the rows are read.
    """
    lines = ((number, line_fields(text)) for number, text in text_lines(FIELD, uri, body) if text.strip())
    first = next(lines, None)
    if first is None:
        raise LabelTableError(f"{FIELD} {uri} has no rows: write one for each image")
    width = max(len(first[1]) - 2, 1)
    return width, _list_rows(uri, width, chain([first], lines))


def _list_rows(uri: str, width: int, lines: Iterator[tuple[int, list[str]]]) -> Iterator[TableRow]:
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


def is_output_manifest(uri: str, body: bytes) -> bool:
    """Whether a label table is an output manifest: it ends in `.manifest`, or its first line has `source-ref`."""
    if uri.lower().endswith(MANIFEST_ENDING):
        return True
    if not uri.lower().endswith(".jsonl"):
        return False
    _, first = next(_json_objects(uri, body), (0, {}))
    return SOURCE_REF in first or (SOURCE in first and any(name.endswith(METADATA) for name in first))


def read_output_manifest(uri: str, body: bytes, options: GroundTruthConf, file_split: str | None) -> Iterator[TableRow]:
    """Yield a row for each line; lines without a label that counts are rows with a status and a reason.

    Raises LabelTableError for lines without an address, for labels of another kind than image classification, and if
    it is not clear which of several label attributes counts.
    """
    attribute = _label_attribute(uri, body, options)
    reader = _OutputManifest(uri, attribute, options, file_split)
    for line, document in _json_objects(uri, body):
        row = reader.row(line, document)
        if row is not None:
            yield row
    reader.finish()


def _label_attribute(uri: str, body: bytes, options: GroundTruthConf) -> str:
    types: dict[str, str] = {}
    for _, document in _json_objects(uri, body):
        for name, metadata in document.items():
            if name.endswith(METADATA) and isinstance(metadata, dict):
                kind = metadata.get("type")
                attribute = name.removesuffix(METADATA)
                types[attribute] = kind if isinstance(kind, str) else types.get(attribute, "")
    found = ", ".join(f"{name!r} ({kind or 'no type'})" for name, kind in islice(types.items(), 10)) or "none"
    asked = options.label_attribute
    if asked:
        if asked not in types:
            raise LabelTableError(
                f"{FIELD} {uri} has no label attribute {asked!r} (it has {found}): correct {OPTIONS}.label_attribute"
            )
        return asked
    fitting = [name for name, kind in types.items() if kind.startswith(CLASSIFICATION)]
    if len(fitting) > 1:
        raise LabelTableError(
            f"{FIELD} {uri} has {len(fitting)} label attributes ({found}), of jobs that were chained: name one in "
            f"{OPTIONS}.label_attribute"
        )
    if not fitting:
        raise LabelTableError(
            f"{FIELD} {uri} has no labels of an image classification job (label attributes: {found}): name the "
            f"output.manifest of such a job, or the attribute of a custom one in {OPTIONS}.label_attribute"
        )
    return fitting[0]


class _WrongLineError(ValueError):
    """A line that cannot be read; the message says what to correct."""


class _OutputManifest:
    """Turns the lines of an output manifest into rows, and counts what it leaves out."""

    def __init__(self, uri: str, attribute: str, options: GroundTruthConf, file_split: str | None) -> None:
        self._uri = uri
        self._attribute = attribute
        self._options = options
        self._file_split = file_split
        self._problems = RowProblems(uri)
        self._left_out: Counter[str] = Counter()
        self._rows = self._doubtful = 0

    def row(self, line: int, document: Document) -> TableRow | None:
        """Read a line; None where it is wrong."""
        try:
            path = _address(document)
            metadata: Any = document.get(f"{self._attribute}{METADATA}")
            left_out = self._why_left_out(metadata)
            names = () if left_out else self._names(document, metadata)
        except _WrongLineError as error:
            self._problems.add(f"line {line}: {error}")
            return None
        if names is None:
            left_out = Status.SKIPPED, f"its confidence is below {OPTIONS}.minimum_confidence"
        split = document.get(SPLIT)
        split = split.strip() if isinstance(split, str) and split.strip() else self._file_split
        self._rows += 1
        row = TableRow(self._uri, line, path, names or (), split)
        if left_out is None:
            return row
        self._left_out[left_out[1]] += 1
        return replace(row, status=left_out[0], reason=left_out[1])

    def finish(self) -> None:
        """Log what was left out. Raises LabelTableError with the first wrong lines."""
        self._problems.check()
        reasons = "; ".join(f"{count}: {reason}" for reason, count in self._left_out.most_common())
        left_out = f"{self._left_out.total()} of {self._rows} lines left out{f' ({reasons})' if reasons else ''}"
        log.info("%s %s: labels of attribute %r, %s", FIELD, self._uri, self._attribute, left_out)
        if self._doubtful:
            text = "%s %s: %s labels are below %s.minimum_confidence; their images keep their other labels"
            log.info(text, FIELD, self._uri, self._doubtful, OPTIONS)

    def _why_left_out(self, metadata: Any) -> tuple[Status, str] | None:
        """Status and reason of a line without a label that counts, whatever its labels are."""
        if not isinstance(metadata, dict):
            return Status.UNLABELLED, "Ground Truth has not labelled it"
        if "failure-reason" in metadata:
            return Status.UNLABELLED, f"Ground Truth could not label it: {shortened(metadata['failure-reason'])}"
        if self._options.human_annotated_only and str(metadata.get("human-annotated")).lower() not in YES:
            return Status.SKIPPED, f"no person labelled it ({OPTIONS}.human_annotated_only)"
        return None

    def _names(self, document: Document, metadata: Document) -> tuple[str, ...] | None:
        """The labels of a line that count; None where it has labels and none of them counts."""
        kind = str(metadata.get("type", ""))
        if kind.startswith(BUILT_IN) and not kind.startswith((CLASSIFICATION, CUSTOM)):
            raise _WrongLineError(f"{self._attribute!r} is of type {shortened(kind)}, not of image classification")
        found = self._several(document, metadata) if "class-map" in metadata else [_single(metadata)]
        least = self._options.minimum_confidence
        kept = [name for name, score in found if least is None or (_is_number(score) and score >= least)]
        if found and not kept:
            return None
        self._doubtful += len(found) - len(kept)
        return tuple(dict.fromkeys(kept))

    def _several(self, document: Document, metadata: Document) -> list[tuple[str, Any]]:
        names, confidences = metadata["class-map"], metadata.get("confidence-map")
        numbers = document.get(self._attribute)
        if not isinstance(names, dict) or not isinstance(numbers, list):
            raise _WrongLineError(f"{self._attribute!r} is not a list of numbers that a class-map names")
        unnamed = next((number for number in numbers if not _is_name(names.get(str(number)))), None)
        if unnamed is not None:
            raise _WrongLineError(f"{self._attribute!r} has {shortened(unnamed)}, which its class-map does not name")
        scores = confidences if isinstance(confidences, dict) else {}
        return [(names[str(number)].strip(), scores.get(str(number))) for number in numbers]


def _single(metadata: Document) -> tuple[str, Any]:
    name = metadata.get("class-name")
    if not _is_name(name):
        raise _WrongLineError(f"its metadata has class-name = {shortened(name)}: write the name of its class")
    return str(name).strip(), metadata.get("confidence")


def _address(document: Document) -> str:
    path = document.get(SOURCE_REF)
    if path is None and SOURCE in document:
        shown = shortened(document[SOURCE])
        raise _WrongLineError(f"has its data in the line ({SOURCE} = {shown}): images are named by {SOURCE_REF}")
    if not isinstance(path, str):
        raise _WrongLineError(f"{SOURCE_REF} = {shortened(path)}: write the image's address")
    problem = checked_path(path)
    if problem:
        raise _WrongLineError(f"{SOURCE_REF} = {shortened(path)}: {problem}")
    return path


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name.strip())


def _is_number(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool)
