"""Where the parts of a dataset version lie in S3, how its splits are called, and how an address in S3 is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from include.datasets.errors import DatasetError

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
