"""Which classes a version has and in which order, how a record holds those of an image, and how documents are read.

Index 0 stays index 0 in every version that grows. The documents are those in S3 that people and their programs write,
such as label tables, image lists and labels files. Parquet is read so that a value which a column repeats is held once:
a dictionary page may hold one text of a megabyte that the rows name ten thousand times, and decoded as plain texts, a
document of 700 bytes takes gigabytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError, explained, reading_foreign_bytes
from include.datasets.layout import parse_s3_uri
from include.datasets.source_image import ImageSource, system_name
from include.datasets.version import DatasetVersion
from include.run_conf.reading import is_unicode, listed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

FIELD = "dataset.labels_file"
FULL_RETRAIN = (
    "A changed label set is a full retrain: build a version without a parent, and train without an incremental parent"
)


def asked_labels(s3: S3Client, conf: DatasetConf) -> list[str]:
    """The classes that a run conf names, in class order; none stands for all of the source.

    They are `dataset.labels`, else the names in `dataset.labels_file`. Raises DatasetError where both are given and
    a label is none of the file's names, and for a file that `read_labels_file` refuses.
    """
    if not conf.labels_file:
        return list(conf.labels)
    names = read_labels_file(s3, conf.labels_file)
    strange = [label for label in conf.labels if label not in set(names)]
    if strange:
        raise DatasetError(
            f"dataset.labels names {len(strange)} classes that {FIELD} {conf.labels_file} does not have: "
            + "; ".join(_with_nearest(label, names) for label in strange[:10])
        )
    return list(conf.labels) or names


def class_order(
    asked: Sequence[str],
    source: ImageSource,
    parent: DatasetVersion | None,
    *,
    field: str = "dataset.labels",
    remedy: str = "correct the names",
) -> list[str]:
    """Class names in the order of their index.

    The parent's order where there is one; else that of the classes `asked` for in `field`; else the source's.
    Raises DatasetError where the label set differs from the parent's, the source does not have a label (`remedy` is
    what to do then), or fewer than two classes remain.
    """
    if parent is not None:
        return _parents_order(asked, source, parent, field)
    labels = list(asked) or list(source.classes)
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise DatasetError(f"{field} names {', '.join(map(repr, repeated))} more than once: a class has one index")
    if not source.classes and (unmatched := source.unmatched()):
        raise DatasetError(f"no image of {source.uri} is there.\n{unmatched}")
    if not source.classes:
        raise DatasetError(f"dataset.source {source.uri} has no class folders: put images under {source.class_place}")
    known = set(source.classes)
    missing = [label for label in labels if label not in known]
    if missing:
        raise DatasetError(
            f"{field} names {len(missing)} classes that {source.uri} does not have: "
            + "; ".join(_with_nearest(label, source.classes) for label in missing[:10])
            + f": {remedy}"
        )
    if len(labels) < 2:
        raise DatasetError(
            f"dataset.source {source.uri} gives the single class {labels[0]!r}: a classifier needs two or more"
        )
    return labels


def _parents_order(asked: Sequence[str], source: ImageSource, parent: DatasetVersion, field: str) -> list[str]:
    if asked and list(asked) != parent.labels:
        differing = sorted(set(asked) ^ set(parent.labels))
        what = ", ".join(differing[:10]) if differing else "their order"
        raise DatasetError(f"{field} differs from parent version {parent.version} ({what}). {FULL_RETRAIN}")
    new = [] if asked else sorted(set(source.classes) - set(parent.labels))
    if new:
        raise DatasetError(
            f"{source.uri} has {len(new)} classes that parent version {parent.version} has no label for: "
            f"{', '.join(new[:10])}. {FULL_RETRAIN}; or name the parent's labels in dataset.labels to leave them out"
        )
    return list(parent.labels)


def read_labels_file(s3: S3Client, uri: str) -> list[str]:
    """Read class names in the order of their index, as `dataset.labels` reads them: one per line, or a JSON list.

    `labels.json` of a dataset version is such a list. Raises DatasetError for other documents, and for a name that
    is there twice.
    """
    body = read_document(s3, FIELD, uri)
    names = _listed(uri, body) if uri.lower().endswith(".json") else _written(uri, body)
    if not names:
        raise DatasetError(f"{FIELD} {uri} names no class: write one class per line")
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        shown = ", ".join(map(repr, repeated[:10]))
        raise DatasetError(f"{FIELD} {uri} names {shown} more than once: a class has one index")
    return names


def _written(uri: str, body: bytes) -> list[str]:
    return _names(uri, listed("\n".join(line for _, line in text_lines(FIELD, uri, body)), one_line=True))


def _listed(uri: str, body: bytes) -> list[str]:
    try:
        document = parse_json(body.decode("utf-8-sig"))
    except ValueError as error:
        raise DatasetError(f"{FIELD} {uri} is not a JSON document: {error}") from error
    return _names(uri, listed(document, one_line=True) if isinstance(document, list) else document)


def _names(uri: str, names: object) -> list[str]:
    if isinstance(names, list) and all(isinstance(name, str) and is_unicode(name) for name in names):
        return names
    raise DatasetError(f'{FIELD} {uri} is not a list of names: write ["cat", "dog"], or a class per line')


def _with_nearest(label: str, classes: Sequence[str]) -> str:
    """Quote a name that is not a class, and the class whose name is nearest to it."""
    if system_name(label) is not None:
        return f"{label!r} (a hidden or system folder, which is left out)"
    near = get_close_matches(label, classes, n=1)
    return f"{label!r} (did you mean {near[0]!r}?)" if near else repr(label)


def class_indices(labels: Sequence[str]) -> dict[str, int]:
    """The index of each class."""
    return {label: index for index, label in enumerate(labels)}


def label_vector(
    names: Sequence[str], indices: Mapping[str, int], *, multi_label: bool, origin: str
) -> tuple[float, ...]:
    """Encode the classes of one image: `(index,)`, or as many 0/1 as there are classes when multi-label.

    Raises DatasetError, naming the image as `origin`, where a single-label image has none or several.
    """
    if multi_label:
        vector = [0.0] * len(indices)
        for name in names:
            vector[indices[name]] = 1.0
        return tuple(vector)
    if len(names) != 1:
        raise DatasetError(
            f"{origin} has the labels {', '.join(names) or 'none'}, an image of a single-label version has one: "
            "build the version again, or with dataset.multi_label"
        )
    return (float(indices[names[0]]),)


REPEATED = "BYTE_ARRAY"
"""Parquet's type of texts and bytes, whose values pyarrow keeps in a dictionary if asked."""


def read_document(s3: S3Client, field: str, uri: str) -> bytes:
    """Read a whole object. Raises DatasetError, naming the field of the run conf, if it is not there or barred."""
    bucket, key = parse_s3_uri(uri)
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise unread(field, uri, error) from error


def unread(field: str, uri: str, error: ClientError) -> DatasetError | ClientError:
    """Why a document cannot be read, in the words of the run conf; other errors than these stay as they are."""
    code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == 404:
        return DatasetError(f"{field} {uri} does not exist: correct the address")
    refusal = explained(error, uri)
    return DatasetError(f"{field} {uri} {refusal}") if refusal else error


def text_lines(field: str, uri: str, body: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text with their numbers, 1 being the first, without their ends.

    UTF-8, with or without a byte order mark; lines end with a line feed, a carriage return or both. Raises DatasetError
    for another encoding.
    """
    # A StringIO of the text would hold up to four bytes for each of its letters.
    lines = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig")
    try:
        for number, line in enumerate(lines, start=1):
            yield number, line.removesuffix("\n")
    except UnicodeDecodeError:
        raise not_utf8(field, uri, body) from None


def parse_json(text: str) -> Any:
    """Parse JSON that people or their programs wrote.

    Raises ValueError with the reason for whatever is none, also for one that is nested too deep, and for a text with
    half of a character (a lone surrogate), which no document or key can hold.
    """
    with reading_foreign_bytes(ValueError, own=(json.JSONDecodeError,)):
        document = json.loads(text)
        if "\\u" in text:
            _check_characters(json.dumps(document, ensure_ascii=False))
        return document


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"it has half of a character (\\u{ord(half):04x}): write both halves") from None


def not_utf8(field: str, uri: str, body: bytes) -> DatasetError:
    """In which line of a text the first byte stands that is not UTF-8."""
    line = body[: _first_wrong_byte(body)].count(b"\n") + 1
    return DatasetError(f"{field} {uri} is not UTF-8 (line {line}): save it as UTF-8")


def _first_wrong_byte(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)


def open_parquet(file: IO[bytes]) -> pq.ParquetFile:
    """Open a document whose texts come as arrays of a dictionary. Raises whatever pyarrow raises."""
    schema = pq.ParquetFile(file).schema
    columns = [schema.column(place) for place in range(len(schema.names))]
    file.seek(0)
    return pq.ParquetFile(file, read_dictionary=[column.path for column in columns if column.physical_type == REPEATED])


def cells_of(column: Any) -> Iterator[Any]:
    """The cells of a column as Python has them; rows with the same text share it."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = column.dictionary.to_pylist()
        return (None if place is None else values[place] for place in column.indices.to_pylist())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        entries = cells_of(column.flatten())
        lengths = pc.list_value_length(column).to_pylist()
        return (None if length is None else list(islice(entries, length)) for length in lengths)
    return iter(column.to_pylist())


def plain_texts(batch: pa.RecordBatch, longest: int) -> pa.RecordBatch:
    """The batch with the texts themselves in every row. Raises ValueError for a text of more bytes than `longest`."""
    columns = [_plain(name, column, longest) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(name: str, column: Any, longest: int) -> Any:
    if not pa.types.is_dictionary(column.type):
        return column
    size = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
    if size > longest:
        raise ValueError(f"its column {name} has a text of {size} bytes, and {longest} are allowed")
    return column.dictionary_decode()
