"""What a parent's manifest says of the images under a source."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from include.datasets.layout import Split
from include.datasets.manifest import CONFLICT, PACKED, TRANSIENT, read_manifest
from include.datasets.source import SourceImage
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class SettledImage:
    """Content that a parent has packed, or refused for being under two labels."""

    uri: str
    labels: tuple[str, ...]
    conflict: bool


class KnownImages:
    """Lookups over a parent's manifest; without a parent nothing is known."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], tuple[str, ...]] = {}
        """Labels by bucket, key and ETag of every image a version has a row for, bar those it looks at again."""
        self.contents: dict[str, SettledImage] = {}
        """By ETag."""
        self.splits_of_keys: dict[tuple[str, str], Split] = {}
        """By bucket and key: a replaced image stays in the split of the one before it."""
        self.counts: dict[str, Counter[Split]] = {}
        """Packed images per class and split."""

    @classmethod
    def of(cls, s3: S3Client, version: DatasetVersion) -> KnownImages:
        """Read a version's manifest."""
        known = cls()
        layout = version.layout
        columns = ["bucket", "key", "etag", "status", "split", "labels"]
        table = read_manifest(s3, layout.bucket, layout.manifest, columns)
        rows = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
        for bucket, key, etag, status, split, labels in rows:
            if status not in TRANSIENT:
                known.objects[bucket, key, etag] = tuple(labels)
            if status in (PACKED, CONFLICT):
                known.contents[etag] = SettledImage(f"s3://{bucket}/{key}", tuple(labels), status == CONFLICT)
            if status == PACKED:
                known.splits_of_keys[bucket, key] = cast(Split, split)
                for label in labels:
                    known.counts.setdefault(label, Counter())[cast(Split, split)] += 1
        return known

    def has(self, image: SourceImage) -> bool:
        """Tell whether the object has a row already, with the same content."""
        return (image.bucket, image.key, image.etag) in self.objects

    def may_gain_from(self, image: SourceImage) -> bool:
        """Tell whether the object holds bytes that were not settled under any key."""
        return image.size > 0 and not self.has(image) and image.etag not in self.contents

    def has_packed(self, image: SourceImage) -> bool:
        """Tell whether an object of this key was packed, whatever it held."""
        return (image.bucket, image.key) in self.splits_of_keys

    def has_other_labels(self, image: SourceImage) -> bool:
        """Tell whether the object has a row with the same content and other labels."""
        return set(self.objects.get((image.bucket, image.key, image.etag), image.labels)) != set(image.labels)
