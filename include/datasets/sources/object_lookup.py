"""Find many objects of a bucket by their keys, with few listings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.sources.archived_objects import ArchivedObjects

THREADS = 8
LONGEST_KEY = 1024
"""Bytes; S3 refuses a listing from a longer one on, and no object has it."""


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


def find_objects(
    s3: S3Client, bucket: str, keys: Iterable[str], archived: ArchivedObjects | None = None
) -> dict[str, ListedObject]:
    """Return those of the keys that exist; ``archived`` hears of those that have to be restored.

    The bucket is listed from wanted key to wanted key: one request for up to a thousand neighbours, never more requests
    than keys, whatever else the bucket holds. Needs ``s3:ListBucket`` only.
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
