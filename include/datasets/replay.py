"""The training images of an incremental training: the new ones, and a share of those that the model has learned from.

The built-in algorithm reads one record file a channel and sees all of it in each epoch. So a share of the old images is
a record file of its own, put together on the server of the version's own records: it costs what the chosen records
weigh, once for a version, a model's version and a share. Which old images are chosen follows from their content and the
version: a retry chooses the same ones, the next version others, and a larger share all of a smaller one and more.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError
from include.datasets.manifest import read_manifest
from include.datasets.objects import ByteRange, compose
from include.datasets.publishing import cut_out
from include.datasets.source_image import Status
from include.datasets.splits import NO_LABEL, fraction
from include.datasets.version import DatasetVersion, SplitCounts, load

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

COLUMNS = ["status", "split", "etag", "labels", "offset"]
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Replay:
    """The training images of one incremental training, as ranges of bytes of the version's own record file."""

    version: DatasetVersion
    prefix: str
    """Key prefix of the channel, with its closing slash."""
    new: int
    replayed: int
    old: int
    """Old images in all, of which `replayed` are chosen."""
    ranges: tuple[ByteRange, ...]

    @property
    def uri(self) -> str:
        """The S3 prefix of the channel; it holds exactly one `.rec`."""
        return f"s3://{self.version.layout.bucket}/{self.prefix}"

    @property
    def as_version(self) -> DatasetVersion:
        """The version as the training sees it: with this many training images."""
        counts = SplitCounts(**{**self.version.counts.model_dump(), "train": self.new + self.replayed})
        return self.version.model_copy(update={"counts": counts})

    def write(self, s3: S3Client) -> None:
        """Write the channel if it is not there yet; an object appears whole or not at all."""
        bucket, key = self.version.layout.bucket, f"{self.prefix}train.rec"
        if not _is_there(s3, bucket, key):
            scratch = f"{self.version.layout.shards}replayed-{key.split('/')[-3]}-"
            compose(s3, bucket, key, self.ranges, scratch=scratch)
        log.info(
            "It sees %d new training images and %d of %d old ones: %s", self.new, self.replayed, self.old, self.uri
        )


def choose_replayed(s3: S3Client, version: DatasetVersion, *, learned: str | None, share: float) -> Replay:
    """All training images that the model has not learned from, and a share of the others, the same of each class.

    `learned` is the address of the dataset version that the model has learned from. An image with other labels than
    there is new. Raises DatasetError if that version is not known any more, or no image would be left.
    """
    records = _training_records(s3, version).sort_by("offset")
    if learned is None:
        raise _unknown("the model's job names no dataset version", share)
    known = _known_content(s3, learned, share)
    contents = list(_contents(records))
    old = np.array([content in known for content in contents], dtype=bool)
    chosen = ~old
    for place in _sample(contents, old, share, salt=version.version):
        chosen[place] = True
    if not chosen.any():
        raise DatasetError(
            f"incremental.replay = {share:g}: the model has learned from every training image of {version.uri}, and "
            "none is replayed: raise it"
        )
    layout = version.layout
    key = layout.records("train")
    size = s3.head_object(Bucket=layout.bucket, Key=key)["ContentLength"]
    _, stretches = cut_out(np.asarray(records["offset"]), size, chosen)
    name = hashlib.sha256(learned.encode()).hexdigest()[:8]
    return Replay(
        version=version,
        prefix=f"{layout.prefix}replay/{share:g}-{name}/train/",
        new=int((~old).sum()),
        replayed=int((chosen & old).sum()),
        old=int(old.sum()),
        ranges=tuple(ByteRange(key, start, end) for start, end in stretches),
    )


def _training_records(s3: S3Client, version: DatasetVersion) -> pa.Table:
    table = read_manifest(s3, version.layout.bucket, version.layout.manifest, COLUMNS)
    return table.filter((pc.field("status") == Status.PACKED) & (pc.field("split") == "train"))


def _contents(records: pa.Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The bytes of each image, recognised by their ETag, and its labels."""
    columns: list[list[Any]] = [records[name].to_pylist() for name in ("etag", "labels")]
    for etag, labels in zip(*columns, strict=True):
        yield etag, tuple(labels)


def _known_content(s3: S3Client, learned: str, share: float) -> set[tuple[str, tuple[str, ...]]]:
    try:
        return set(_contents(_training_records(s3, load(s3, learned))))
    except (DatasetError, ClientError) as error:
        raise _unknown(f"its dataset version {learned} cannot be read: {error}", share) from error


def _unknown(why: str, share: float) -> DatasetError:
    return DatasetError(
        f"incremental.replay = {share:g}: which images the model has learned from is not known ({why}): leave it at 1"
    )


def _sample(contents: list[tuple[str, tuple[str, ...]]], old: Chosen, share: float, *, salt: str) -> Iterator[int]:
    """The places of the old images that are replayed: of each class its share, rounded up.

    An image with several labels counts for the rarest of them, so that no class is forgotten.
    """
    places = np.flatnonzero(old).tolist()
    images = Counter(label for place in places for label in contents[place][1] or (NO_LABEL,))
    by_class: dict[str, list[int]] = defaultdict(list)
    for place in places:
        labels = contents[place][1] or (NO_LABEL,)
        by_class[min(labels, key=lambda label: (images[label], label))].append(place)
    for members in by_class.values():
        in_turn = sorted(members, key=lambda place: (fraction(0, f"replay/{salt}", contents[place][0]), place))
        yield from in_turn[: math.ceil(round(share * len(members), 9))]


def _is_there(s3: S3Client, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return False
    return True
