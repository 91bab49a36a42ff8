"""The images there are, from a text in S3: an address or a key a line."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.sources.class_folders import bucket_and_prefix
from include.datasets.sources.listing import Folder, Listing
from include.datasets.sources.mismatch import LINES, UnmatchedLine, explain_mismatch
from include.datasets.sources.object_lookup import ListedObject
from include.datasets.sources.object_table import ObjectTable
from include.datasets.sources.paths import is_address, match_otherwise, readings, split_address
from include.datasets.sources.text_document import read_document, text_lines

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

FIELD = "dataset.image_list"
EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class ImageList:
    """Keys by the lines that name them, all of one bucket."""

    uri: str
    bucket: str
    lines: dict[str, int]
    """The line of each key, 1 being the first, in the order of the lines."""


class ListedImages:
    """A listing of no more than the images of a list: what else the bucket holds is not there.

    ``base`` knows which of them exist; it is asked once, for all. Lines that are not keys word for word are read as
    ``include.datasets.sources.paths`` reads them, below the prefix of ``source``.
    """

    def __init__(self, image_list: ImageList, base: Listing, source: str) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._table: ObjectTable | None = None
        self._prefix = bucket_and_prefix(source)[1]
        self.bucket = image_list.bucket
        self._found = base.find(image_list.lines.keys())
        self.image_list = self._with_real_keys(image_list) if len(self._found) < len(image_list.lines) else image_list
        """The list with the keys that its lines mean."""

    def folder(self, prefix: str) -> Folder:
        """Tell what stands right under a prefix."""
        return self._objects().folder(prefix)

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix."""
        return self._objects().objects(prefix)

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Return those of the keys that the list names and the bucket holds."""
        return {key: self._found[key] for key in keys if key in self._found}

    def sample(self, prefix: str, count: int) -> list[str]:
        """Name the first images of the list under a prefix that the bucket holds."""
        return list(islice((key for key in self._found if key.startswith(prefix)), count))

    def absent(self, prefix: str) -> Iterator[str]:
        """Name the keys under a prefix that the list names and the bucket does not hold."""
        return (key for key in self.image_list.lines if key.startswith(prefix) and key not in self._found)

    def unmatched(self) -> str:
        """Explain why lines of the list name no object."""
        absent = islice((pair for pair in self.image_list.lines.items() if pair[0] not in self._found), LINES)
        lines = [UnmatchedLine(f"line {line}", key.removeprefix(self._prefix)) for key, line in absent]
        said = explain_mismatch(lines, self._base, self._prefix)
        return f"{FIELD} {self.image_list.uri}: {said}" if said else ""

    def _with_real_keys(self, image_list: ImageList) -> ImageList:
        absent = {key: self._readings(key) for key in image_list.lines if key not in self._found}
        meant = match_otherwise(absent, self._base, self._prefix, self._found).objects
        if not meant:
            return image_list
        keys = {written: listed.key for written, listed in meant.items()}
        self._found |= {listed.key: listed for listed in meant.values()}
        written, key = next(iter(keys.items()))
        logger.info(
            "%s %s: %s lines name an object by another key, such as %r for %r",
            FIELD,
            image_list.uri,
            len(keys),
            written,
            key,
        )
        lines: dict[str, int] = {}
        for written, line in image_list.lines.items():
            lines.setdefault(keys.get(written, written), line)
        return replace(image_list, lines=lines)

    def _readings(self, key: str) -> list[str]:
        below = key.startswith(self._prefix)
        return readings(key[len(self._prefix) :], self._prefix) if below else readings(key, "")

    def _objects(self) -> ObjectTable:
        with self._lock:
            if self._table is None:
                self._table = ObjectTable.of(self._found.values())
            return self._table


def read_image_list(s3: S3Client, uri: str, source: str) -> ImageList:
    """Read a list of images. A line is an address, or a key: in full where it begins with the source's prefix, else
    relative to it.

    Empty lines do not matter, nor a line that is there again. A key may hold spaces, but not begin or end with one.
    Raises DatasetError, naming lines, for a text that names no image, images of several buckets, or what is no address.
    """
    own_bucket, prefix = bucket_and_prefix(source)
    lines: dict[str, int] = {}
    buckets: dict[str, str] = {}
    wrong: list[str] = []
    repeated = 0
    for number, line in text_lines(FIELD, uri, read_document(s3, FIELD, uri)):
        path = line.strip()
        if not path:
            continue
        bucket, key = _place(path, own_bucket, prefix)
        if not key or key.endswith("/"):
            wrong.append(f"line {number}: {path!r}")
            continue
        buckets.setdefault(bucket, f"line {number}: {path!r}")
        repeated += key in lines
        lines.setdefault(key, number)
    if wrong:
        shown = "; ".join(wrong[:EXAMPLES])
        raise DatasetError(
            f"{FIELD} {uri}: {len(wrong)} lines name no image ({shown}): write s3://bucket/key, or a key"
        )
    if not lines:
        raise DatasetError(f"{FIELD} {uri} names no image: write an address or a key a line")
    if len(buckets) > 1:
        raise DatasetError(
            f"{FIELD} {uri} names images in {len(buckets)} buckets ({'; '.join(list(buckets.values())[:EXAMPLES])}): "
            "copy them into one"
        )
    if repeated:
        logger.info("%s %s: %s lines name an image again", FIELD, uri, repeated)
    return ImageList(uri, next(iter(buckets)), lines)


def check_under(image_list: ImageList, source: str) -> None:
    """Raise DatasetError where images of a list do not lie under the source, whose folders are their labels."""
    bucket, prefix = bucket_and_prefix(source)
    outside = {
        key: line for key, line in image_list.lines.items() if image_list.bucket != bucket or not key.startswith(prefix)
    }
    if outside:
        shown = "; ".join(
            f"line {line}: s3://{image_list.bucket}/{key}" for key, line in islice(outside.items(), EXAMPLES)
        )
        raise DatasetError(
            f"{FIELD} {image_list.uri}: {len(outside)} images do not lie under dataset.source {source}, whose folders "
            f"are their labels ({shown}): name the prefix of all of them, or dataset.label_tables"
        )


def _place(path: str, own_bucket: str, prefix: str) -> tuple[str, str]:
    if not is_address(path):
        return own_bucket, path if path.startswith(prefix) else f"{prefix}{path}"
    return split_address(path) or ("", "")
