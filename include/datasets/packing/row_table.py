"""Manifest rows -> a table, without loading pandas."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow.json import ParseOptions, ReadOptions, read_json

from include.datasets.manifest import SCHEMA

if TYPE_CHECKING:
    from include.datasets.manifest import ManifestRow


def table_of_rows(rows: Sequence[ManifestRow]) -> pa.Table:
    """Lay a shard's rows out in the manifest's columns.

    pyarrow loads pandas, where it is installed, as soon as it makes an array of Python values. That takes as long as
    packing hundreds of images and 60 MB, in every process that packs a shard; its JSON reader does without.
    """
    lines = "\n".join(json.dumps({name: getattr(row, name) for name in SCHEMA.names}) for row in rows).encode()
    if not lines:
        return SCHEMA.empty_table()
    return read_json(
        io.BytesIO(lines),
        read_options=ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error"),
    )
