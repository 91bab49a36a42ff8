"""Class folders under an S3 prefix: ``s3://bucket/prefix/CLASS/.../image``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.layout import Split, parse_s3_uri
from include.datasets.manifest import IGNORED
from include.datasets.source import LeftOut, SourceImage, unlisted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LISTING_THREADS = 8


@dataclass(frozen=True, slots=True)
class Folder:
    """What stands right under a prefix: the names of its folders, sorted, and the objects beside them."""

    folders: tuple[str, ...]
    loose: tuple[SourceImage, ...]


class ClassFolders:
    """A source whose labels are the names of the folders right under its prefix.

    ``split`` is the split of all its images, where they are one part of a source that is split already.
    """

    def __init__(self, s3: S3Client, uri: str, *, split: Split | None = None) -> None:
        self._s3 = s3
        self._split = split
        self.bucket, self.prefix = bucket_and_prefix(uri)
        self.uri = f"s3://{self.bucket}/{self.prefix}"
        self.class_place = f"{self.uri}CLASS/"
        self.given_splits: frozenset[Split] = frozenset()
        listed = list_folder(s3, uri)
        self.classes = listed.folders
        self._loose = listed.loose

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the objects of the classes that have a folder, class after class, in the order of their keys."""
        folders = set(self.classes)
        present = [label for label in labels if label in folders]
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            for images in pool.map(self._list_class, present):
                yield from images

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:  # noqa: ARG002  (folders that nobody asked for are not listed)
        """List the objects beside the class folders."""
        for image in self._loose:
            yield LeftOut(image, IGNORED, "it lies beside the class folders, so it has no label")

    def _list_class(self, label: str) -> list[SourceImage]:
        paginator = self._s3.get_paginator("list_objects_v2")
        return [
            SourceImage(self.bucket, listed["Key"], listed["ETag"].strip('"'), listed["Size"], (label,), self._split)
            for page in paginator.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{label}/")
            for listed in page.get("Contents", [])
            if not listed["Key"].endswith("/")
        ]


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Split a source's address into its bucket and a key prefix that ends with a slash, or is empty."""
    bucket, prefix = parse_s3_uri(uri)
    return bucket, prefix if prefix.endswith("/") or not prefix else f"{prefix}/"


def list_folder(s3: S3Client, uri: str) -> Folder:
    """List what stands right under ``uri``. Raises DatasetError where there is no such bucket, or it may not be listed.

    A folder without a name, as in ``prefix//image``, is none.
    """
    bucket, prefix = bucket_and_prefix(uri)
    folders: set[str] = set()
    loose: list[SourceImage] = []
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            folders.update(entry["Prefix"][len(prefix) : -1] for entry in page.get("CommonPrefixes", []))
            for listed in page.get("Contents", []):
                if listed["Key"] != prefix:
                    loose.append(SourceImage(bucket, listed["Key"], listed["ETag"].strip('"'), listed["Size"], ()))
    except ClientError as error:
        raise unlisted("dataset.source", uri, bucket, error) from error
    return Folder(tuple(sorted(folders - {""})), tuple(loose))
