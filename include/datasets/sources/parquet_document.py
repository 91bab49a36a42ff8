"""Parquet documents of strangers, read so that a value which a column repeats is held once.

A dictionary page may hold one text of a megabyte and the rows may name it ten thousand times: decoded as plain texts, a
document of 700 bytes takes gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

REPEATED = "BYTE_ARRAY"
"""Parquet's type of texts and bytes, whose values pyarrow keeps in a dictionary if asked."""


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
        raise ValueError(f"its column {name} has a text of {size} bytes, more than {longest}")
    return column.dictionary_decode()
