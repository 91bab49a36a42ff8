"""Which objects a bucket holds, by asking it; the other listings are an inventory and an image list."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol
from xml.etree import ElementTree

from botocore.exceptions import ClientError

from include.datasets.sources.archived_objects import ArchivedObjects
from include.datasets.sources.object_lookup import ListedObject, find_objects
from include.datasets.sources.source import unlisted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BEGIN, _END = b"<Contents>", b"</Contents>"


@dataclass(frozen=True, slots=True)
class Folder:
    """What stands right under a prefix: the names of its folders, sorted, and the objects beside them."""

    folders: tuple[str, ...]
    loose: tuple[ListedObject, ...]


class Listing(Protocol):
    """The objects of one bucket as they were listed, without the empty ones whose keys end with a slash: folders.

    A prefix is empty or ends with a slash. Threads may share a listing.
    """

    @property
    def bucket(self) -> str:
        """The bucket whose objects these are."""

    def folder(self, prefix: str) -> Folder:
        """Tell what stands right under a prefix.

        A folder without a name, as in ``prefix//image``, is none: the objects in it stand beside the folders.
        Raises DatasetError where the listing cannot be had.
        """

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix, at any depth, in the order of their keys' bytes."""

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Return those of the keys that exist. Raises DatasetError where the listing cannot be had."""

    def sample(self, prefix: str, count: int) -> list[str]:
        """Name the first keys under a prefix, so many at most, without reading many more."""

    def absent(self, prefix: str) -> Iterator[str]:
        """Name the keys under a prefix that the listing promises and the bucket does not hold."""

    def unmatched(self) -> str:
        """Explain why lines of the listing name no object; empty where each does, and where a bucket is the listing."""


class LiveBucket:
    """A bucket as it is now, through ``ListObjectsV2``.

    ``field`` and ``uri`` say in the words of the run conf what is being listed, for the error of a bucket that cannot
    be. ``archived`` hears of the objects that have to be restored before they can be read.
    """

    def __init__(
        self, s3: S3Client, bucket: str, *, field: str, uri: str, archived: ArchivedObjects | None = None
    ) -> None:
        self._s3 = s3
        self._archived = ArchivedObjects() if archived is None else archived
        s3.meta.events.register("before-parse.s3.ListObjectsV2", _read_entries, unique_id="entries-of-listings")
        self._field, self._uri = field, uri
        self.bucket = bucket

    def folder(self, prefix: str) -> Folder:
        """Tell what stands right under a prefix."""
        folders: set[str] = set()
        loose: list[ListedObject] = []
        paginator = self._s3.get_paginator("list_objects_v2")
        try:
            for page in paginator.paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/", OptionalObjectAttributes=["RestoreStatus"]
            ):
                folders.update(entry["Prefix"][len(prefix) : -1] for entry in page.get("CommonPrefixes", []))
                loose += (
                    ListedObject.of(entry["Key"], entry["ETag"], entry["Size"])
                    for entry in page.get("Contents", [])
                    if entry["Key"] != prefix or entry["Size"]
                )
        except ClientError as error:
            raise unlisted(self._field, self._uri, self.bucket, error) from error
        if "" in folders:
            loose += self.objects(f"{prefix}/")
        return Folder(tuple(sorted(folders - {""})), tuple(loose))

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix."""
        paginator = self._s3.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=self.bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"])
        try:
            for page in pages:
                for entry in page.get("Contents", []):
                    if entry["Size"] or not entry["Key"].endswith("/"):
                        self._archived.see_listed(self.bucket, entry)
                        yield ListedObject.of(entry["Key"], entry["ETag"], entry["Size"])
        except ClientError as error:
            raise unlisted(self._field, self._uri, self.bucket, error) from error

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Return those of the keys that exist, with few requests."""
        try:
            return find_objects(self._s3, self.bucket, keys, self._archived)
        except ClientError as error:
            raise unlisted(self._field, self._uri, self.bucket, error) from error

    def sample(self, prefix: str, count: int) -> list[str]:
        """Name the first keys under a prefix."""
        return [listed.key for listed in islice(self.objects(prefix), count)]

    def absent(self, prefix: str) -> Iterator[str]:  # noqa: ARG002  (a bucket promises nothing)
        """Name nothing: a bucket holds what it lists."""
        return iter(())

    def unmatched(self) -> str:
        """Say nothing: a bucket promises nothing."""
        return ""


def _read_entries(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Read what is wanted of a page's objects, and take them out: botocore spends most of a listing's time on them."""
    body: bytes = response_dict["body"]
    start, end = body.find(_BEGIN), body.rfind(_END) + len(_END)
    if response_dict["status_code"] != 200 or start < 0:
        return
    entries = ElementTree.fromstring(b"<page>%b</page>" % body[start:end])  # noqa: S314 - S3 wrote it
    if any(entry.tag != "Contents" for entry in entries):  # a server that writes them in another order
        return
    customized_response_dict["Contents"] = [
        {
            "Key": entry.findtext("Key", ""),
            "ETag": entry.findtext("ETag", ""),
            "Size": int(entry.findtext("Size", "0")),
            "StorageClass": entry.findtext("StorageClass", ""),
            "RestoreStatus": {
                "IsRestoreInProgress": entry.findtext("RestoreStatus/IsRestoreInProgress", "") == "true",
                "RestoreExpiryDate": entry.findtext("RestoreStatus/RestoreExpiryDate", ""),
            },
        }
        for entry in entries
    ]
    response_dict["body"] = body[:start] + body[end:]
