"""Class folders under an S3 prefix: ``s3://bucket/prefix/CLASS/.../image``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LISTING_THREADS = 8


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An object as it was listed; one outside every class folder has no labels."""

    bucket: str
    key: str
    etag: str
    """Without its quotes."""
    size: int
    labels: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The object's address."""
        return f"s3://{self.bucket}/{self.key}"


class ClassFolders:
    """A source whose labels are the names of the folders right under its prefix."""

    def __init__(self, s3: S3Client, uri: str) -> None:
        self._s3 = s3
        self.uri = uri
        self.bucket, prefix = parse_s3_uri(uri)
        self.prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        self._present: set[str] = set()
        self.folders: tuple[str, ...] = ()
        """Names of the class folders, sorted."""
        self.loose: tuple[SourceImage, ...] = ()
        """Objects that stand beside the class folders."""
        try:
            self._list_top()
        except ClientError as error:
            raise _unlisted(uri, self.bucket, error) from error

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        """List the objects of the classes that have a folder, class after class, in the order of their keys."""
        present = [label for label in labels if label in self._present]
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            for images in pool.map(self._list_class, present):
                yield from images

    def _list_top(self) -> None:
        folders: set[str] = set()
        loose: list[SourceImage] = []
        paginator = self._s3.get_paginator("list_objects_v2")
        for page in paginator.paginate(Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"):
            folders.update(entry["Prefix"][len(self.prefix) : -1] for entry in page.get("CommonPrefixes", []))
            for listed in page.get("Contents", []):
                if listed["Key"] != self.prefix:
                    loose.append(SourceImage(self.bucket, listed["Key"], listed["ETag"].strip('"'), listed["Size"], ()))
        self._present = folders - {""}
        self.folders = tuple(sorted(self._present))
        self.loose = tuple(loose)

    def _list_class(self, label: str) -> list[SourceImage]:
        paginator = self._s3.get_paginator("list_objects_v2")
        return [
            SourceImage(self.bucket, listed["Key"], listed["ETag"].strip('"'), listed["Size"], (label,))
            for page in paginator.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}{label}/")
            for listed in page.get("Contents", [])
            if not listed["Key"].endswith("/")
        ]


def _unlisted(uri: str, bucket: str, error: ClientError) -> DatasetError | ClientError:
    code = error.response.get("Error", {}).get("Code")
    if code == "NoSuchBucket":
        return DatasetError(f"dataset.source {uri}: there is no bucket {bucket}; name the bucket that holds the images")
    if code in ("AccessDenied", "AllAccessDisabled"):
        return DatasetError(f"dataset.source {uri} may not be listed: give the role s3:ListBucket on bucket {bucket}")
    return error
