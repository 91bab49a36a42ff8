"""Listed objects that have to be restored before they can be read: known from the listing, before anything is read.

Source: Amazon S3 API Reference, ListObjectsV2 (`StorageClass`, and `RestoreStatus` where it is asked for); Amazon S3
User Guide, "Amazon S3 Inventory list" (`StorageClass`, `IntelligentTieringAccessTier`). A listing says of an object in
S3 Intelligent-Tiering nothing of its tier: one in an archive tier is known from an inventory with that field, else when
it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from include.datasets.errors import DatasetError
from include.datasets.s3_faults import STORAGE_CLASSES, restore_command

SHOWN = 5


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
    """Say which images have to be restored first, and with which commands."""
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
