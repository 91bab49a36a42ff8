"""The packed records themselves: the file of each channel, and the labels of its first record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.datasets.layout import Split, parse_s3_uri
from include.preflight.findings import Findings
from include.problems import Problem
from include.recordio.format import RecordError, decode_image_record, read_records

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion

CHANNELS: tuple[Split, ...] = ("train", "validation")
FIRST_BYTES = 1 << 20
REBUILD = "build a new version"


def record_findings(s3: S3Client, dataset: DatasetVersion) -> Findings:
    """Whether each channel holds one `.rec` with records, and these are labelled as `num_classes` has it.

    Raises botocore's errors where S3 gives no answer.
    """
    return Findings.of(
        problem for split in CHANNELS if dataset.count(split) for problem in _channel(s3, dataset, split)
    )


def _channel(s3: S3Client, dataset: DatasetVersion, split: Split) -> Iterator[Problem]:
    uri = dataset.channel_uri(split)
    bucket, prefix = parse_s3_uri(uri)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=10).get("Contents", [])
    if not listed:
        yield Problem(field="dataset.version", value=uri, remedy=f"holds no S3 objects: {REBUILD}, or correct the name")
        return
    names = [entry["Key"].removeprefix(prefix) for entry in listed]
    if len(names) > 1 or not names[0].endswith(".rec"):
        remedy = f"holds {', '.join(names)}, and the {split} channel is one .rec file: remove the others"
        yield Problem(field="dataset.version", value=uri, remedy=remedy)
    elif not listed[0]["Size"]:
        yield Problem(field="dataset.version", value=f"{uri}{names[0]}", remedy=f"is empty, without records: {REBUILD}")
    else:
        yield from _first_record(s3, dataset, bucket, listed[0]["Key"])


def _first_record(s3: S3Client, dataset: DatasetVersion, bucket: str, key: str) -> Iterator[Problem]:
    uri = f"s3://{bucket}/{key}"
    head = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{FIRST_BYTES - 1}")["Body"].read()
    try:
        record = decode_image_record(next(read_records(head)).payload)
    except (RecordError, StopIteration) as error:
        if len(head) < FIRST_BYTES:
            remedy = f"is no RecordIO ({error or 'no record in it'}): {REBUILD}"
            yield Problem(field="dataset.version", value=uri, remedy=remedy)
        return
    width, wanted = len(record.labels), dataset.num_classes if dataset.multi_label else 1
    if width != wanted:
        remedy = f"has {width} labels a record, and num_classes of this version asks for {wanted}: {REBUILD}"
        yield Problem(field="dataset.version", value=uri, remedy=remedy)
