"""Archives and finished record files that were unpacked to objects: where they lie, and the source they make.

s3://DATA/unpacked/NAME/<hash of the address>/
    address.txt       of a web address with a query: what it is in full
    images/...        a member or a record each
    labels.parquet    of record files: path, label, split
    left_out.jsonl    the members that were not unpacked, and why
    unpacked.json     written last: without it nothing was unpacked
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.layout import Split
from include.datasets.planning.given_splits import SPLIT_NAMES
from include.datasets.unpacking.byte_stream import Fingerprint
from include.datasets.unpacking.kept_addresses import reference_of
from include.run_conf.dataset import SourceKind, source_kind
from include.web_addresses import shown_address

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)


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
        return f"unpacked/{self.name}/{reference_of(self.address)}/"

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
        """Key of ``unpacked.json``."""
        return f"{self.prefix}unpacked.json"

    @property
    def shown(self) -> str:
        """The address as messages may show it."""
        return shown_address(self.address)


class UnpackedRecords(BaseModel):
    """What a record file says of its labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_width: int
    """1: the index of a class; more: a 0 or 1 for each class."""
    classes: list[str]
    """Names in the order of their index: those given, or the indices that occur."""
    names: list[str]
    """Those given, empty where none were."""
    split: Split | None


class UnpackedSource(BaseModel):
    """``unpacked.json``: what was unpacked from which content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    """Without user, password and query."""
    fingerprint: Fingerprint
    objects: int
    bytes: int
    left_out: dict[str, int]
    """Members that were not unpacked by their status; ``left_out.jsonl`` names them."""
    records: UnpackedRecords | None = None

    def is_of(self, fingerprint: Fingerprint) -> bool:
        """Tell whether the content at the address is the one that was unpacked."""
        known = fingerprint.tells_content or fingerprint.size is not None
        return known and fingerprint == self.fingerprint


def find_unpacked(s3: S3Client, place: UnpackedLayout) -> UnpackedSource | None:
    """Read ``unpacked.json``; None where there is none, or one of another release."""
    try:
        body = s3.get_object(Bucket=place.bucket, Key=place.document)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    try:
        return UnpackedSource.model_validate_json(body)
    except ValueError:
        logger.warning("s3://%s/%s is not readable: it is unpacked again", place.bucket, place.document)
        return None


def load_unpacked(s3: S3Client, place: UnpackedLayout) -> UnpackedSource:
    """Read ``unpacked.json``. Raises DatasetError where nothing was unpacked."""
    found = find_unpacked(s3, place)
    if found is None:
        raise DatasetError(
            f"dataset.source = {place.shown} is not unpacked yet: run the task dataset.unpack, or unpack_sources() of "
            "include.datasets.unpacking.unpack"
        )
    return found


def split_of_address(address: str) -> Split | None:
    """The split that the stem of a file's name ends in, as in ``caltech-256-60-train.rec``; None where it does not."""
    path = urlsplit(address).path if address.startswith("http") else address
    stem = path.rpartition("/")[2].rpartition(".")[0].lower()
    return SPLIT_NAMES.get(re.split(r"[^a-z]", stem)[-1])
