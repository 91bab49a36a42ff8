"""Where the images and labels of a new dataset version come from, and which finished versions there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from include.datasets.errors import LIST, DatasetError, explained
from include.datasets.layout import VersionLayout
from include.datasets.unpacked import UnpackedLayout
from include.datasets.unpacking.addresses import SourcePolicy, open_remote, packed_addresses
from include.datasets.unpacking.byte_stream import look_at
from include.datasets.version import DatasetVersion, find, latest
from include.problems import Problem, ProblemsError
from include.web_addresses import shown_address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf, RunConf
    from include.settings import Settings


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
    """The named version, the newest where `version` is empty.

    Raises NoVersionError, which names `field`, where it was not published or cannot be read.
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
            else f"s3://{data_bucket}/datasets/{name}/ holds no finished version: build one first, or correct the name"
        )
        raise NoVersionError([Problem(field=field, value=version or name, remedy=remedy)])
    return found


def _image_source_problems(s3: S3Client, dataset: DatasetConf, settings: Settings) -> Iterator[Problem]:
    folders = "train/CLASS/" if dataset.layout == "split_folders" else "one folder for each class"
    for address in dataset.addresses(settings.data_bucket):
        if address in packed_addresses(dataset):
            place = UnpackedLayout(settings.data_bucket, dataset.name, address)
            yield from _unreadable_problems(s3, place, SourcePolicy.of(settings))
        else:
            yield from _unlisted_problems(s3, "dataset.source", address, f"holds no objects: upload {folders}")


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
