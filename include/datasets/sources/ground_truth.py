"""Output manifests of SageMaker Ground Truth as label tables: JSON Lines with ``source-ref`` and an image's labels.

A labeling job adds to each line its label attribute, and beside it ``<attribute>-metadata`` with ``class-name`` and
``confidence``, of a job with several labels ``class-map`` and ``confidence-map``. Chained jobs leave several attributes
in a line. Source: SageMaker developer guide, "Labeling job output data".
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from include.datasets.manifest import SKIPPED, UNLABELLED
from include.datasets.sources.label_rows import TableRow
from include.datasets.sources.table_formats import (
    FIELD,
    SPLIT,
    LabelTableError,
    RowProblems,
    checked_path,
    json_objects,
    shortened,
)

if TYPE_CHECKING:
    from include.run_conf.dataset import GroundTruthConf

logger = logging.getLogger(__name__)

ENDING = ".manifest"
SOURCE_REF, SOURCE, METADATA = "source-ref", "source", "-metadata"
BUILT_IN, CUSTOM = "groundtruth/", "groundtruth/custom"
CLASSIFICATION = "groundtruth/image-classification"
"""The beginning of the type of single-label and multi-label jobs over images."""
YES = ("yes", "true")
OPTIONS = "dataset.ground_truth"

Document = Mapping[str, Any]


def is_output_manifest(uri: str, body: bytes) -> bool:
    """Whether a label table is an output manifest: it ends in ``.manifest``, or its first line has ``source-ref``."""
    if uri.lower().endswith(ENDING):
        return True
    if not uri.lower().endswith(".jsonl"):
        return False
    _, first = next(json_objects(uri, body), (0, {}))
    return SOURCE_REF in first or (SOURCE in first and any(name.endswith(METADATA) for name in first))


def read_output_manifest(uri: str, body: bytes, options: GroundTruthConf, file_split: str | None) -> Iterator[TableRow]:
    """Yield a row for each line; lines without a label that counts are rows with a status and a reason.

    Raises LabelTableError for lines without an address, for labels of another kind than image classification, and where
    it cannot be told which of several label attributes counts.
    """
    attribute = _label_attribute(uri, body, options)
    reader = _Lines(uri, attribute, options, file_split)
    for line, document in json_objects(uri, body):
        row = reader.row(line, document)
        if row is not None:
            yield row
    reader.finish()


def _label_attribute(uri: str, body: bytes, options: GroundTruthConf) -> str:
    types: dict[str, str] = {}
    for _, document in json_objects(uri, body):
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


class _Lines:
    """Turns lines into rows, and counts what it leaves out."""

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
            left_out = SKIPPED, f"its confidence is below {OPTIONS}.minimum_confidence"
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
        logger.info("%s %s: labels of attribute %r, %s", FIELD, self._uri, self._attribute, left_out)
        if self._doubtful:
            text = "%s %s: %s labels are below %s.minimum_confidence; their images keep their other labels"
            logger.info(text, FIELD, self._uri, self._doubtful, OPTIONS)

    def _why_left_out(self, metadata: Any) -> tuple[str, str] | None:
        """Status and reason of a line without a label that counts, whatever its labels are."""
        if not isinstance(metadata, dict):
            return UNLABELLED, "Ground Truth has not labelled it"
        if "failure-reason" in metadata:
            return UNLABELLED, f"Ground Truth could not label it: {shortened(metadata['failure-reason'])}"
        if self._options.human_annotated_only and str(metadata.get("human-annotated")).lower() not in YES:
            return SKIPPED, f"no person labelled it ({OPTIONS}.human_annotated_only)"
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
