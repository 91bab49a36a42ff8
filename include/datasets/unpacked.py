"""What was unpacked of an address of `dataset.source`: where it lies, and the document that describes it.

s3://DATA/unpacked/NAME/<reference of the address>/
    address.txt       of a web address with a query: the whole address
    images/...        one object for each member or record
    labels.parquet    of record files: path, label, split
    left_out.jsonl    the members that were not unpacked, and why
    unpacked.json     written last: without it nothing was unpacked

A pre-signed address gives the file to everybody who reads it, so its query is kept in `address.txt` and shown nowhere.
A run continues with a sealed address, `https://host/a.zip?kept-query=0123456789abcdef`, and so do its XComs, its logs
and `dataset.json`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.layout import Split
from include.problems import is_web_address, shown_address
from include.run_conf.dataset import SourceKind, source_kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

log = logging.getLogger(__name__)

_SEALED = re.compile(r"(?s)(?P<address>[^?#]*)\?kept-query=(?P<reference>[0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class UnpackedLayout:
    """Where in the data bucket the content of an address lies."""

    bucket: str
    name: str
    """Of the dataset."""
    address: str

    @property
    def kind(self) -> SourceKind:
        """What the address leads to."""
        return source_kind(self.address)

    @property
    def prefix(self) -> str:
        """Key prefix of everything, with its closing slash."""
        return f"unpacked/{self.name}/{_reference_of(self.address)}/"

    @property
    def whole_address(self) -> str:
        """Key of the address with its query."""
        return f"{self.prefix}address.txt"

    @property
    def images(self) -> str:
        """Key prefix of the images."""
        return f"{self.prefix}images/"

    @property
    def images_uri(self) -> str:
        """Address of the images."""
        return f"s3://{self.bucket}/{self.images}"

    @property
    def labels(self) -> str:
        """Key of a record file's label table."""
        return f"{self.prefix}labels.parquet"

    @property
    def left_out(self) -> str:
        """Key of the list of members that were not unpacked."""
        return f"{self.prefix}left_out.jsonl"

    @property
    def document(self) -> str:
        """Key of `unpacked.json`."""
        return f"{self.prefix}unpacked.json"

    @property
    def shown(self) -> str:
        """The address as messages may show it."""
        return shown_address(self.address)


class Fingerprint(BaseModel):
    """What distinguishes the content behind an address from another; what a server does not say is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    etag: str = ""
    """As it was sent, quotes included."""
    last_modified: str = ""
    size: int | None = None
    """Bytes."""

    @property
    def validator(self) -> str:
        """What `If-Range` takes: a strong ETag, else the date; empty if there is neither."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    @property
    def tells_content(self) -> bool:
        """Whether the same fingerprint means the same content."""
        return bool(self.etag or self.last_modified)

    def differs(self, other: Fingerprint) -> bool:
        """Whether the two cannot be of the same content; what only one of them says is not a difference."""
        mine, others = self.model_dump(), other.model_dump()
        return any(mine[name] != others[name] for name in mine if mine[name] and others[name])


class UnpackedRecords(BaseModel):
    """The labels of a record file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_width: int
    """1: the index of a class; more: a 0 or 1 for each class."""
    classes: list[str]
    """Names in the order of their index: those given, or the indices that occur."""
    names: list[str]
    """Those given, empty if none were."""
    split: Split | None


class UnpackedSource(BaseModel):
    """`unpacked.json`: what was unpacked from which content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    """Without user, password and query."""
    fingerprint: Fingerprint
    objects: int
    bytes: int
    left_out: dict[str, int]
    """Members that were not unpacked by their status; `left_out.jsonl` names them."""
    records: UnpackedRecords | None = None

    def is_of(self, fingerprint: Fingerprint) -> bool:
        """Whether the content at the address is the one that was unpacked."""
        known = fingerprint.tells_content or fingerprint.size is not None
        return known and fingerprint == self.fingerprint


def find_unpacked(s3: S3Client, place: UnpackedLayout) -> UnpackedSource | None:
    """Read `unpacked.json`; None if there is none, or one of another release."""
    try:
        body = s3.get_object(Bucket=place.bucket, Key=place.document)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    try:
        return UnpackedSource.model_validate_json(body)
    except ValueError:
        log.warning("s3://%s/%s is not readable: it is unpacked again", place.bucket, place.document)
        return None


def load_unpacked(s3: S3Client, place: UnpackedLayout) -> UnpackedSource:
    """Read `unpacked.json`. Raises DatasetError if nothing was unpacked."""
    found = find_unpacked(s3, place)
    if found is None:
        raise DatasetError(
            f"dataset.source = {place.shown} is not unpacked yet: run the task dataset.unpack, or unpack_sources() of "
            "include.datasets.unpacking.unpack"
        )
    return found


def unpacked_path(name: str) -> str:
    """The path of an archive's member below `images/`: folders parted by slashes, without empty and `.` parts."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def sealed_address(address: str) -> str:
    """An address with a reference instead of its query; one without a query, or not of the web, as it is."""
    if not is_web_address(address) or _SEALED.fullmatch(address) or "?" not in address.partition("#")[0]:
        return address
    return f"{_without_query(address)}?kept-query={_reference_of(address)}"


def keep_queries(s3: S3Client, conf: DatasetConf, data_bucket: str) -> DatasetConf:
    """Keep the web addresses of a run conf that have a query, and give the conf with sealed ones instead.

    A conf without such addresses, or with sealed ones, comes back as it is.
    """
    sealed = keep_addresses(s3, conf.source, data_bucket, conf.name)
    return conf if sealed == conf.source else conf.model_copy(update={"source": sealed})


def keep_addresses(s3: S3Client, addresses: Iterable[str], data_bucket: str, name: str) -> list[str]:
    """Keep those of a dataset's addresses that have a query; returns all of them, sealed."""
    sealed = []
    for address in addresses:
        sealed.append(sealed_address(address))
        if sealed[-1] != address:
            key = UnpackedLayout(data_bucket, name, address).whole_address
            s3.put_object(Bucket=data_bucket, Key=key, Body=address.encode(), ContentType="text/plain")
    return sealed


def whole_address(s3: S3Client, place: UnpackedLayout) -> str:
    """The address behind a sealed one; any other as it is. Raises DatasetError if it is no longer stored."""
    sealed = _SEALED.fullmatch(place.address)
    if sealed is None:
        return place.address
    try:
        kept = s3.get_object(Bucket=place.bucket, Key=place.whole_address)["Body"].read().decode()
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        kept = ""
    # Who names another server beside the reference must not be sent the query of this one.
    if _without_query(kept) != sealed["address"]:
        raise DatasetError(
            f"dataset.source = {place.shown}: the rest of this address is not kept in "
            f"s3://{place.bucket}/{place.whole_address}: name the whole address again in dataset.source"
        )
    return kept


def _reference_of(address: str) -> str:
    """The name under which an address is kept, and its content unpacked; a sealed address has that of the whole one."""
    sealed = _SEALED.fullmatch(address)
    return sealed["reference"] if sealed else hashlib.sha256(address.encode()).hexdigest()[:16]


def _without_query(address: str) -> str:
    return address.partition("#")[0].partition("?")[0]
