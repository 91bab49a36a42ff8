"""Two plain lists beside the manifest, for people and their scripts: what was packed, and what was not and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from include.datasets.layout import VersionLayout
from include.datasets.manifest import BATCH_ROWS, PACKED
from include.datasets.multipart import ObjectSink

if TYPE_CHECKING:
    import pyarrow as pa
    from mypy_boto3_s3 import S3Client

TEXT = "text/plain; charset=utf-8"


def write_plain_lists(s3: S3Client, layout: VersionLayout, manifest: pa.Table) -> None:
    """Write `packed.txt`, an address in each line, and `not-packed.txt`, an address, a tab, the status and why.

    The lines are in the order of the manifest; a batch of them is in memory at a time.
    """
    rows = manifest.select(["bucket", "key", "status", "reason"])
    with (
        ObjectSink(s3, layout.bucket, layout.packed_list, content_type=TEXT) as packed,
        ObjectSink(s3, layout.bucket, layout.not_packed_list, content_type=TEXT) as not_packed,
    ):
        for batch in rows.to_batches(BATCH_ROWS):
            lines = [(row["status"] == PACKED, _line(row)) for row in batch.to_pylist()]
            packed.write("".join(line for is_packed, line in lines if is_packed).encode())
            not_packed.write("".join(line for is_packed, line in lines if not is_packed).encode())


def _line(row: dict[str, Any]) -> str:
    address = f"s3://{row['bucket']}/{row['key']}"
    if not address.isprintable():  # a line feed in a key must not make two lines of one
        address = json.dumps(address)
    if row["status"] == PACKED:
        return f"{address}\n"
    reason = " ".join((row["reason"] or "").split())
    return f"{address}\t{row['status']}{f': {reason}' if reason else ''}\n"
