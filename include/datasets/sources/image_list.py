"""The images there are, from a text in S3: an address or a key a line."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.sources.class_folders import bucket_and_prefix
from include.datasets.sources.listing import Folder, Listing
from include.datasets.sources.object_lookup import ListedObject
from include.datasets.sources.object_table import ObjectTable
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

    ``base`` knows which of them exist; it is asked once, for all.
    """

    def __init__(self, image_list: ImageList, base: Listing) -> None:
        self._list, self._base = image_list, base
        self._lock = threading.Lock()
        self._found: dict[str, ListedObject] | None = None
        self._table: ObjectTable | None = None
        self.bucket = image_list.bucket

    def folder(self, prefix: str) -> Folder:
        """Tell what stands right under a prefix."""
        return self._objects().folder(prefix)

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix."""
        return self._objects().objects(prefix)

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Return those of the keys that the list names and the bucket holds."""
        found = self._existing()
        return {key: found[key] for key in keys if key in found}

    def absent(self, prefix: str) -> Iterator[str]:
        """Name the keys under a prefix that the list names and the bucket does not hold."""
        found = self._existing()
        return (key for key in self._list.lines if key.startswith(prefix) and key not in found)

    def _existing(self) -> dict[str, ListedObject]:
        with self._lock:
            if self._found is None:
                self._found = self._base.find(self._list.lines.keys())
            return self._found

    def _objects(self) -> ObjectTable:
        found = self._existing()
        with self._lock:
            if self._table is None:
                self._table = ObjectTable.of(found.values())
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
    if "://" not in path:
        return own_bucket, path if path.startswith(prefix) else f"{prefix}{path}"
    try:
        return parse_s3_uri(path)
    except DatasetError:  # what is no address is named with its line
        return "", ""
