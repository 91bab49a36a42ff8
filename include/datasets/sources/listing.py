"""Which objects a bucket holds: by asking it, by keys, and in memory; and which of them have to be restored first.

The other listings are an inventory and an image list.

Which objects are archived is known from the listing, before anything is read. Source: Amazon S3 API Reference,
ListObjectsV2 (`StorageClass`, and `RestoreStatus` if it is asked for); Amazon S3 User Guide, "Amazon S3 Inventory list"
(`StorageClass`, `IntelligentTieringAccessTier`). A listing does not show the tier of an object in S3
Intelligent-Tiering: one in an archive tier is known from an inventory with that field, else when it is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from threading import local
from typing import TYPE_CHECKING, Any, Protocol, cast
from xml.etree import ElementTree

import pyarrow as pa
from botocore.exceptions import ClientError

from include.datasets.errors import LIST, STORAGE_CLASSES, DatasetError, explained, restore_command
from include.datasets.layout import Split
from include.datasets.source_image import SourceImage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

_BEGIN, _END = b"<Contents>", b"</Contents>"
THREADS = 8
LONGEST_KEY = 1024
"""Bytes; S3 refuses a listing from a longer one on, and no object has it."""
SHOWN = 5
_COLUMNS: list[pa.Field[Any]] = [
    pa.field("key", pa.large_string()),
    pa.field("etag", pa.string()),
    pa.field("size", pa.int64()),
]
SCHEMA = pa.schema(_COLUMNS)
BATCH_ROWS = 10_000
_READING = local()
AFTER_ALL = b"\xff"
"""No key has this byte, as keys are UTF-8: what begins with a prefix stands before the prefix with it."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as it was listed."""

    key: str
    etag: str
    """Without its quotes."""
    size: int
    """Bytes."""

    @classmethod
    def of(cls, key: str, etag: str, size: int) -> ListedObject:
        """Take an object as S3 lists it, its ETag in quotes."""
        return cls(key, etag.strip('"'), size)

    def as_image(self, bucket: str, labels: tuple[str, ...] = (), split: Split | None = None) -> SourceImage:
        """The object as an image with labels."""
        return SourceImage(bucket, self.key, self.etag, self.size, labels, split)


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
        """What stands right under a prefix.

        A folder without a name, as in `prefix//image`, is none: the objects in it stand beside the folders.
        Raises DatasetError if the bucket cannot be listed.
        """

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix, at any depth, in the order of their keys' bytes."""

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Those of the keys that exist. Raises DatasetError if the bucket cannot be listed."""

    def sample(self, prefix: str, count: int) -> list[str]:
        """The first keys under a prefix, so many at most, without reading many more."""

    def absent(self, prefix: str) -> Iterator[str]:
        """The keys under a prefix that the listing promises and the bucket does not hold."""

    def unmatched(self) -> str:
        """Explain why lines of the listing name no object; empty where each does, and where a bucket is the listing."""


class LiveBucket:
    """A bucket as it is now, through `ListObjectsV2`.

    `field` and `uri` say in the words of the run conf what is being listed, for the error of a bucket that cannot
    be. `archived` receives the objects that have to be restored before they can be read.
    """

    def __init__(
        self, s3: S3Client, bucket: str, *, field: str, uri: str, archived: ArchivedObjects | None = None
    ) -> None:
        self._s3 = s3
        self._archived = ArchivedObjects() if archived is None else archived
        self._field, self._uri = field, uri
        self.bucket = bucket

    def folder(self, prefix: str) -> Folder:
        """What stands right under a prefix."""
        folders: set[str] = set()
        loose: list[ListedObject] = []
        try:
            for page in self._pages(prefix, Delimiter="/"):
                folders.update(entry["Prefix"][len(prefix) : -1] for entry in page.get("CommonPrefixes", []))
                loose += (
                    ListedObject.of(entry["Key"], entry["ETag"], entry["Size"])
                    for entry in page.get("Contents", [])
                    if entry["Key"] != prefix or entry["Size"]
                )
        except ClientError as error:
            raise _unlisted(self._field, self._uri, self.bucket, error) from error
        if "" in folders:
            loose += self.objects(f"{prefix}/")
        return Folder(tuple(sorted(folders - {""})), tuple(loose))

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix."""
        try:
            for page in self._pages(prefix):
                for entry in page.get("Contents", []):
                    if entry["Size"] or not entry["Key"].endswith("/"):
                        self._archived.see_listed(self.bucket, entry)
                        yield ListedObject.of(entry["Key"], entry["ETag"], entry["Size"])
        except ClientError as error:
            raise _unlisted(self._field, self._uri, self.bucket, error) from error

    def _pages(self, prefix: str, **request: Any) -> Iterator[ListObjectsV2OutputTypeDef]:
        paginator = self._s3.get_paginator("list_objects_v2")
        pages = iter(
            paginator.paginate(Bucket=self.bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"], **request)
        )
        while True:
            with _reading_entries(self._s3):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def find(self, keys: Collection[str]) -> dict[str, ListedObject]:
        """Those of the keys that exist, with few requests."""
        try:
            return find_objects(self._s3, self.bucket, keys, self._archived)
        except ClientError as error:
            raise _unlisted(self._field, self._uri, self.bucket, error) from error

    def sample(self, prefix: str, count: int) -> list[str]:
        """The first keys under a prefix."""
        return [listed.key for listed in islice(self.objects(prefix), count)]

    def absent(self, prefix: str) -> Iterator[str]:  # noqa: ARG002  (a bucket promises nothing)
        """Nothing: a bucket holds what it lists."""
        return iter(())

    def unmatched(self) -> str:
        """Nothing: a bucket promises nothing."""
        return ""


def _unlisted(field: str, uri: str, bucket: str, error: ClientError) -> DatasetError | ClientError:
    """Why a bucket cannot be listed, in the words of the run conf; `field` names the address."""
    code = error.response.get("Error", {}).get("Code")
    if code == "NoSuchBucket":
        return DatasetError(f"{field} {uri}: there is no bucket {bucket}; name the bucket that holds the images")
    refusal = explained(error, f"s3://{bucket}", LIST)
    return DatasetError(f"{field} {uri} {refusal}") if refusal else error


@contextmanager
def _reading_entries(s3: S3Client) -> Iterator[None]:
    """Let `_read_entries` read the pages that this thread lists meanwhile.

    Whatever else lists with the client, before, after or in another thread, gets all members.
    """
    s3.meta.events.register("before-parse.s3.ListObjectsV2", _read_entries, unique_id="entries-of-listings")
    _READING.here = True
    try:
        yield
    finally:
        _READING.here = False


def _read_entries(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Read what is wanted of a page's objects, and take them out: botocore spends most of a listing's time on them."""
    if not getattr(_READING, "here", False):
        return
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


def find_objects(
    s3: S3Client, bucket: str, keys: Iterable[str], archived: ArchivedObjects | None = None
) -> dict[str, ListedObject]:
    """Those of the keys that exist; `archived` receives those that have to be restored.

    The bucket is listed from wanted key to wanted key: one request for up to a thousand neighbours, never more requests
    than keys, whatever else the bucket holds. Needs `s3:ListBucket` only.
    """
    ordered = sorted({key for key in keys if len(key.encode()) <= LONGEST_KEY}, key=str.encode)
    if not ordered:
        return {}
    prefix = common_folder(ordered[0], ordered[-1])
    length = -(-len(ordered) // THREADS)
    stretches = [ordered[start : start + length] for start in range(0, len(ordered), length)]
    found: dict[str, ListedObject] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for part in pool.map(lambda stretch: _find_in_order(s3, bucket, prefix, stretch, archived), stretches):
            found |= part
    return found


def _find_in_order(
    s3: S3Client, bucket: str, prefix: str, wanted: Sequence[str], archived: ArchivedObjects | None
) -> dict[str, ListedObject]:
    found: dict[str, ListedObject] = {}
    place, after = 0, ""
    while place < len(wanted):
        # S3 lists what follows a key: a wanted key without its last letter stands shortly before it.
        after = max(after, wanted[place][:-1], key=str.encode)
        start: dict[str, Any] = {"StartAfter": after} if after else {}
        with _reading_entries(s3):
            page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"], **start)
        listed = {entry["Key"]: entry for entry in page.get("Contents", [])}
        last = max(listed, key=str.encode, default="")
        while place < len(wanted) and (not page["IsTruncated"] or wanted[place].encode() <= last.encode()):
            entry = listed.get(wanted[place])
            if entry is not None:
                if archived is not None:
                    archived.see_listed(bucket, entry)
                found[wanted[place]] = ListedObject.of(entry["Key"], entry["ETag"], entry["Size"])
            place += 1
        after = last
    return found


def common_folder(first: str, last: str) -> str:
    """The longest prefix that ends with a slash of two keys, and of all that stand between them in their order."""
    length = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first.rfind("/", 0, length) + 1]


class ArchivedObjects:
    """The archived objects among those that were listed, by bucket and key; without those that are restored."""

    def __init__(self) -> None:
        self._classes: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._classes)

    def see(self, bucket: str, key: str, storage_class: str | None) -> None:
        """Take note of a listed object whose storage class, or tier, is one of an archive."""
        if storage_class in STORAGE_CLASSES:
            self._classes[bucket, key] = storage_class

    def see_listed(self, bucket: str, entry: Mapping[str, Any]) -> None:
        """Take note of an entry of ListObjectsV2."""
        if entry.get("StorageClass") in STORAGE_CLASSES and not _is_restored(entry.get("RestoreStatus")):
            self.see(bucket, entry["Key"], entry["StorageClass"])

    def of(self, bucket: str, keys: Iterable[str]) -> dict[str, str]:
        """The storage classes of those of the keys that are archived."""
        if not self._classes:
            return {}
        return {key: found for key in keys if (found := self._classes.get((bucket, key))) is not None}


def archived_error(field: str, uri: str, bucket: str, found: Mapping[str, str], images: int) -> DatasetError:
    """Which images have to be restored first, and with which commands."""
    counts = Counter(found.values())
    classes = ", ".join(f"{count} in {STORAGE_CLASSES[each]} ({each})" for each, count in counts.items())
    first = list(found.items())[:SHOWN]
    commands = "\n".join(f"  {restore_command(f's3://{bucket}/{key}', each)}" for key, each in first)
    return DatasetError(
        f"{field} {uri}: {len(found)} of {images} images to pack are archived and cannot be read: {classes}. Restore "
        f"them, which takes up to 48 hours, and start again (for many use S3 Batch Operations), or leave them out:\n"
        f"{commands}"
    )


def _is_restored(status: Mapping[str, Any] | None) -> bool:
    return status is not None and not status.get("IsRestoreInProgress") and bool(status.get("RestoreExpiryDate"))


class ObjectTable:
    """Objects of one bucket in memory, by key: as few bytes an object as its key, its ETag and its size take.

    Made of a table of `SCHEMA` in any order, each key once.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table.sort_by("key").combine_chunks()
        self._keys = self._table["key"]

    @classmethod
    def of(cls, objects: Iterable[ListedObject]) -> ObjectTable:
        """Gather listed objects."""
        rows = list(objects)
        columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
        return cls(pa.table(columns, schema=SCHEMA))

    def __len__(self) -> int:
        """Count the objects."""
        return self._table.num_rows

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """List all objects under a prefix, in the order of their keys' bytes."""
        first, end = self._first(prefix.encode()), self._first(prefix.encode() + AFTER_ALL)
        for batch in self._table.slice(first, end - first).to_batches(max_chunksize=BATCH_ROWS):
            columns = (column.to_pylist() for column in batch.columns)
            for key, etag, size in zip(*columns, strict=True):
                if size or not key.endswith("/"):
                    yield ListedObject(key, etag, size)

    def folder(self, prefix: str) -> Folder:
        """What stands right under a prefix, leaping over what is in its folders."""
        folders: list[str] = []
        loose: list[ListedObject] = []
        at, end = self._first(prefix.encode()), self._first(prefix.encode() + AFTER_ALL)
        while at < end:
            key = self._key(at)
            name, slash, _ = key[len(prefix) :].partition("/")
            if name and slash:
                folders.append(name)
                at = self._first(f"{prefix}{name}/".encode() + AFTER_ALL)
                continue
            listed = self._object(at)
            if listed.size or not (key == prefix or (slash and key.endswith("/"))):
                loose.append(listed)
            at += 1
        return Folder(tuple(sorted(folders)), tuple(loose))

    def _first(self, start: bytes) -> int:
        return bisect_left(range(len(self)), start, key=lambda at: self._key(at).encode())

    def _key(self, at: int) -> str:
        return cast(str, self._keys[at].as_py())

    def _object(self, at: int) -> ListedObject:
        row = self._table.slice(at, 1).to_pylist()[0]
        return ListedObject(row["key"], row["etag"], row["size"])
