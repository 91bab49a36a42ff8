"""Documents in S3 that people and their programs write, such as label tables, image lists and labels files.

Parquet is read so that a value which a column repeats is held once. A dictionary page may hold one text of a megabyte
that the rows name ten thousand times: decoded as plain texts, a document of 700 bytes takes gigabytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError, explained, reading_foreign_bytes
from include.datasets.layout import parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


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
