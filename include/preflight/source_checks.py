"""What lies in S3 for a run: images and labels of a new dataset version, finished versions, and their records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.errors import LIST, DatasetError, explained
from include.datasets.layout import Split, VersionLayout, parse_s3_uri
from include.datasets.unpacked import UnpackedLayout
from include.datasets.unpacking.addresses import SourcePolicy, open_remote, packed_addresses
from include.datasets.unpacking.byte_stream import look_at
from include.datasets.version import DatasetVersion, find, latest
from include.preflight.questions import Findings
from include.problems import Problem, ProblemsError
from include.recordio.format import RecordError, decode_image_record, read_records
from include.web_addresses import shown_address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf, RunConf
    from include.settings import Settings


CHANNELS: tuple[Split, ...] = ("train", "validation")
FIRST_BYTES = 1 << 20
REBUILD = "build a new version"


class NoVersionError(ProblemsError):
    """There is no finished dataset version of this name."""

    title = "The dataset version is not there"


def source_problems(s3: S3Client, conf: RunConf, settings: Settings) -> Iterator[Problem]:
    """Prefixes without objects, tables and lists that are not there, archives that cannot be read."""
    tables = conf.dataset.label_tables
    if conf.dataset.multi_label and not tables and conf.dataset.source_kind != "records":
        yield Problem(
            field="dataset.multi_label",
            value=True,
            remedy="folders give an image one label: name dataset.label_tables",
        )
    documents = {
        "dataset.label_tables": tables,
        "dataset.image_list": [conf.dataset.image_list],
        "dataset.inventory": [conf.dataset.inventory],
        "dataset.labels_file": [conf.dataset.labels_file],
    }
    for field, addresses in documents.items():
        for address in filter(None, addresses):
            yield from _unlisted_problems(s3, field, address, "is not there: upload it or correct it")
    if not any((tables, conf.dataset.image_list, conf.dataset.inventory)):
        yield from _image_source_problems(s3, conf.dataset, settings)


def finished_version(s3: S3Client, data_bucket: str, *, name: str, version: str, field: str) -> DatasetVersion:
    """The named version, the newest if `version` is empty.

    Raises NoVersionError, which names `field`, if it was not published or cannot be read.
    """
    layout = VersionLayout(data_bucket, name, version)
    try:
        found = find(s3, layout) if version else latest(s3, data_bucket, name)
    except DatasetError as error:
        raise NoVersionError([Problem(field=field, value=version or name, remedy=str(error))]) from None
    if found is None:
        remedy = (
            f"s3://{data_bucket}/{layout.document} does not exist: name a finished version or leave it empty"
            if version
            else f"s3://{data_bucket}/datasets/{name}/ has no finished version: build one first, or correct the name"
        )
        raise NoVersionError([Problem(field=field, value=version or name, remedy=remedy)])
    return found


def record_findings(s3: S3Client, dataset: DatasetVersion) -> Findings:
    """Whether each channel holds one `.rec` with records, and these are labelled as `num_classes` has it.

    Raises botocore's errors if S3 gives no answer.
    """
    return Findings.of(
        problem for split in CHANNELS if dataset.count(split) for problem in _channel(s3, dataset, split)
    )


def _image_source_problems(s3: S3Client, dataset: DatasetConf, settings: Settings) -> Iterator[Problem]:
    folders = "train/CLASS/" if dataset.layout == "split_folders" else "one folder for each class"
    for address in dataset.addresses(settings.data_bucket):
        if address in packed_addresses(dataset):
            place = UnpackedLayout(settings.data_bucket, dataset.name, address)
            yield from _unreadable_problems(s3, place, SourcePolicy.of(settings))
        else:
            yield from _unlisted_problems(s3, "dataset.source", address, f"has no objects: upload {folders}")


def _unreadable_problems(s3: S3Client, place: UnpackedLayout, policy: SourcePolicy) -> Iterator[Problem]:
    shown = shown_address(place.address)
    try:
        look_at(open_remote(s3, place, policy))
    except DatasetError as error:
        remedy = str(error).removeprefix(f"dataset.source = {shown}: ").removeprefix("dataset.source ")
        yield Problem(field="dataset.source", value=shown, remedy=remedy)


def _unlisted_problems(s3: S3Client, field: str, uri: str, absent: str) -> Iterator[Problem]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        if not s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount", 0):
            yield Problem(field=field, value=uri, remedy=absent)
    except (ClientError, BotoCoreError) as error:
        yield Problem(field=field, value=uri, remedy=explained(error, uri, LIST) or f"cannot be listed: {error}")


def _channel(s3: S3Client, dataset: DatasetVersion, split: Split) -> Iterator[Problem]:
    uri = dataset.channel_uri(split)
    bucket, prefix = parse_s3_uri(uri)
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=10).get("Contents", [])
    if not listed:
        yield Problem(field="dataset.version", value=uri, remedy=f"has no S3 objects: {REBUILD}, or correct the name")
        return
    names = [entry["Key"].removeprefix(prefix) for entry in listed]
    if len(names) > 1 or not names[0].endswith(".rec"):
        remedy = f"has {', '.join(names)}, and the {split} channel is one .rec file: remove the others"
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
            remedy = f"is not RecordIO ({error or 'no record in it'}): {REBUILD}"
            yield Problem(field="dataset.version", value=uri, remedy=remedy)
        return
    width, wanted = len(record.labels), dataset.num_classes if dataset.multi_label else 1
    if width != wanted:
        remedy = f"has {width} labels a record, and num_classes of this version asks for {wanted}: {REBUILD}"
        yield Problem(field="dataset.version", value=uri, remedy=remedy)
