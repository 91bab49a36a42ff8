"""The keys of a bucket in S3's order, as the small S3 application lists them."""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from pathlib import Path

FIRST_STAMP = 1_000_000_000
"""Second at which files begin to be dated, each with one of its own: nginx makes ETags of time and size."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object: its size in bytes, and the second of its file's date."""

    size: int
    stamp: int

    @property
    def etag(self) -> str:
        """The ETag that nginx gives to a file of this date and size, without quotes."""
        return f"{self.stamp:x}-{self.size:x}"


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing; `following` is the key that the next page begins with."""

    objects: list[tuple[str, StoredFile]]
    folders: list[str]
    following: str | None


@dataclass
class BucketKeys:
    """What lies in a bucket's folder, held in memory so that a page costs no look at the disk."""

    folder: Path
    files: dict[str, StoredFile] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    @classmethod
    def of_folder(cls, folder: Path) -> BucketKeys:
        """Look at every file of a folder once."""
        bucket = cls(folder)
        start = len(str(folder)) + 1
        for parent, _, names in os.walk(folder):
            for name in names:
                path = f"{parent}/{name}"
                status = os.stat(path)  # noqa: PTH116 - a Path for each of 200,000 files costs seconds
                bucket.files[path[start:]] = StoredFile(status.st_size, int(status.st_mtime))
        bucket.order = sorted(bucket.files)
        return bucket

    def put(self, key: str, stored: StoredFile) -> None:
        """Add or replace a key."""
        if key not in self.files:
            insort(self.order, key)
        self.files[key] = stored

    def delete(self, key: str) -> None:
        """Forget a key and remove its file; an unknown one is not an error, as in S3."""
        if self.files.pop(key, None) is not None:
            del self.order[bisect_left(self.order, key)]
            (self.folder / key).unlink(missing_ok=True)

    def page(self, prefix: str, delimiter: str, start: str, limit: int) -> Page:
        """List up to `limit` keys and folders that begin with `prefix`, from the key `start` on."""
        place = bisect_left(self.order, max(prefix, start))
        objects: list[tuple[str, StoredFile]] = []
        folders: list[str] = []
        while place < len(self.order) and self.order[place].startswith(prefix):
            key = self.order[place]
            if len(objects) + len(folders) == limit:
                return Page(objects, folders, key)
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                objects.append((key, self.files[key]))
                place += 1
            else:
                folders.append(key[: end + len(delimiter)])
                place = bisect_left(self.order, key[:end] + chr(ord(delimiter) + 1))
        return Page(objects, folders, None)
