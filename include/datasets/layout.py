"""Where things lie in S3: the parts of a dataset version, and what was unpacked of an address of `dataset.source`.

Here is also how splits are called, and how an address is read. What was unpacked lies here:

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
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.problems import is_web_address, shown_address
from include.run_conf.dataset import SourceKind, source_kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
    "evaluation": "test",
}
"""What people call splits in folder names and label tables; upper and lower case are the same."""


def named_split(name: str, *, test_as: Split = "test") -> Split | None:
    """The split a source means by a name, None for a name of no split; `test_as` is what its test is."""
    split = SPLIT_NAMES.get(name.strip().lower())
    return test_as if split == "test" else split


def version_name(run_id: str, run_after: datetime) -> str:
    """Name a version `YYYYMMDDTHHMMSSZ-<hash of the run id>`: the same for every retry of a run, and in time's order.

    A time without a zone is taken as UTC.
    """
    moment = run_after.replace(tzinfo=UTC) if run_after.tzinfo is None else run_after.astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%SZ}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """Split `s3://bucket/key` into bucket and key; the key may be empty."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise DatasetError(f"{uri!r} is not an S3 address: write s3://bucket/prefix/")
    return bucket, key


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Split a source's address into its bucket and a key prefix that ends with a slash, or is empty."""
    bucket, prefix = parse_s3_uri(uri)
    return bucket, prefix if prefix.endswith("/") or not prefix else f"{prefix}/"


@dataclass(frozen=True)
class VersionLayout:
    """The keys of one dataset version; `docs/explanation/architecture.md` shows the tree."""

    bucket: str
    name: str
    version: str

    @classmethod
    def of_uri(cls, uri: str) -> VersionLayout:
        """Read bucket, name and version out of `s3://bucket/datasets/NAME/VERSION/`."""
        bucket, key = parse_s3_uri(uri)
        parts = key.strip("/").split("/")
        if len(parts) != 3 or parts[0] != "datasets":
            raise DatasetError(f"{uri!r} is not a dataset version: write s3://bucket/datasets/NAME/VERSION/")
        return cls(bucket, parts[1], parts[2])

    @property
    def prefix(self) -> str:
        """The version's key prefix, with its closing slash."""
        return f"datasets/{self.name}/{self.version}/"

    @property
    def uri(self) -> str:
        """The version's address, with its closing slash."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def document(self) -> str:
        """Key of `dataset.json`, without which the version does not exist."""
        return f"{self.prefix}dataset.json"

    @property
    def began(self) -> datetime | None:
        """The moment in the version's name; None for a name that no run gave."""
        try:
            return datetime.strptime(self.version.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return None

    @property
    def manifest(self) -> str:
        """Key of `manifest.parquet`, one row per source image."""
        return f"{self.prefix}manifest.parquet"

    @property
    def labels(self) -> str:
        """Key of `labels.json`, class names in the order of their index."""
        return f"{self.prefix}labels.json"

    @property
    def report(self) -> str:
        """Key of `report.html`, the version's page."""
        return f"{self.prefix}report.html"

    @property
    def packed_list(self) -> str:
        """Key of `packed.txt`, an address in each line."""
        return f"{self.prefix}packed.txt"

    @property
    def not_packed_list(self) -> str:
        """Key of `not-packed.txt`, an address and the reason in each line."""
        return f"{self.prefix}not-packed.txt"

    @property
    def plan(self) -> str:
        """Key prefix of the plan's documents; removed after publishing."""
        return f"{self.prefix}plan/"

    @property
    def shards(self) -> str:
        """Key prefix of the packed shards; removed after publishing."""
        return f"{self.prefix}shards/"

    @property
    def excluded(self) -> str:
        """Key of the plan's rows for images that no shard packs."""
        return f"{self.plan}excluded.parquet"

    @property
    def plan_document(self) -> str:
        """Key of the plan itself, written when all its other documents are there."""
        return f"{self.plan}plan.json"

    @property
    def changed_records(self) -> str:
        """Key of the plan's rows for records of the parent that are cut out, or stay for another object."""
        return f"{self.plan}changed_records.parquet"

    def joined(self, split: Split) -> str:
        """Key prefix of what has to be joined before the channel's `.rec` can be."""
        return f"{self.shards}joined-{split}-"

    def records(self, split: Split) -> str:
        """Key of a channel's single `.rec`."""
        return f"{self.prefix}{split}/{split}.rec"

    def index(self, split: Split) -> str:
        """Key of a channel's `.idx`, which must not lie under the channel's own prefix."""
        return f"{self.prefix}index/{split}.idx"

    @property
    def test_images(self) -> str:
        """Key prefix of the packed test images as objects; no channel's prefix begins like it."""
        return f"{self.prefix}images/test/"

    @property
    def test_images_uri(self) -> str:
        """Address of the packed test images, with its closing slash."""
        return f"s3://{self.bucket}/{self.test_images}"

    @property
    def source_test_images(self) -> str:
        """Key prefix of the source images of the test split as objects, copied as they were."""
        return f"{self.prefix}images/test-sources/"

    @property
    def unsent_test_images(self) -> str:
        """Key of the list of test images whose sources cannot be sent; written when all others are copied."""
        return f"{self.prefix}images/unsent.json"

    def planned_shard(self, index: int) -> str:
        """Key of the rows a shard has to pack."""
        return f"{self.plan}{index:05d}.parquet"

    def packed_shard(self, index: int) -> str:
        """Key of a shard's `.rec`."""
        return f"{self.shards}{index:05d}.rec"

    def shard_manifest(self, index: int) -> str:
        """Key of a shard's part of the manifest."""
        return f"{self.shards}{index:05d}.parquet"

    def shard_result(self, index: int) -> str:
        """Key of a shard's result, written last: with it the shard is finished."""
        return f"{self.shards}{index:05d}.json"


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
