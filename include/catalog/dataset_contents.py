"""What a dataset version holds: what became of each image of its source, and a contact sheet of some of them.

Everything is read from the version's manifest and records. What is kept of them is small, whatever the version's size.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from include.datasets.errors import DatasetError
from include.datasets.layout import SPLITS, Split
from include.datasets.manifest import read_manifest
from include.datasets.report.image_accounts import first_rows, reasons_by_status
from include.datasets.report.packed_images import PackedImages, contact_sheet
from include.datasets.source_image import BAD, Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion

MOST_ROWS = 500_000
"""Source images of a version whose manifest a page reads: it takes about 300 bytes of memory for each, for a moment."""
LISTED = 20
"""Images listed of each status."""


@dataclass(frozen=True)
class RefusedImage:
    """A source image that is not packed, and why."""

    uri: str
    reason: str


@dataclass(frozen=True)
class StatusAccount:
    """The images of one status: how many, the most frequent reasons with their images, and the first of the images.

    `further` is how many other reasons there are.
    """

    status: str
    images: int
    is_bad: bool
    reasons: tuple[tuple[str, int], ...]
    further: int
    first: tuple[RefusedImage, ...]


@dataclass(frozen=True)
class SheetImage:
    """An image of a contact sheet: `picture` is a data address, empty if the record cannot be read."""

    uri: str
    labels: str
    split: Split
    width: int
    height: int
    picture: str
    trouble: str


def read_accounts(s3: S3Client, version: DatasetVersion) -> tuple[StatusAccount, ...]:
    """What became of the images that are not packed, the bad ones first."""
    manifest = rows_of(s3, version, ["bucket", "key", "status", "reason"])
    manifest = manifest.filter(pc.field("status") != Status.PACKED)
    reasons = reasons_by_status(manifest)
    left_out = {status: count for status, count in version.statuses.items() if count and status != Status.PACKED}
    return tuple(
        StatusAccount(
            status=status,
            images=left_out[status],
            is_bad=status in BAD,
            reasons=tuple(reasons.get(status, ([], 0))[0]),
            further=reasons.get(status, ([], 0))[1],
            first=tuple(
                RefusedImage(f"s3://{row['bucket']}/{row['key']}", row["reason"] or "")
                for row in first_rows(manifest, status, LISTED)
            ),
        )
        for status in sorted(left_out, key=lambda status: (status not in BAD, -left_out[status], status))
    )


def read_sheet(s3: S3Client, version: DatasetVersion, *, label: str = "", split: str = "") -> tuple[SheetImage, ...]:
    """Some sixty images of a version, or of one of its classes, or of one split; the same request gives the same ones.

    Raises DatasetError for a class or split that the version does not have.
    """
    if label and label not in version.labels:
        raise DatasetError(f"version {version.version} has no class {label!r}")
    if split and split not in SPLITS:
        raise DatasetError(f"there is no split {split!r}: a version has {', '.join(SPLITS)}")
    columns = ["bucket", "key", "labels", "split", "status", "width", "height", "offset"]
    layout = version.layout
    sizes = {
        each: s3.head_object(Bucket=layout.bucket, Key=layout.records(each))["ContentLength"]
        for each in SPLITS
        if version.count(each)
    }
    packed = PackedImages.of(rows_of(s3, version, columns), version.labels, sizes)
    chosen = np.ones(packed.rows.num_rows, bool)
    if split:
        chosen &= packed.splits == SPLITS.index(split)
    if label:
        of_label = packed.label_rows[packed.label_codes == version.labels.index(label)]
        chosen &= np.isin(np.arange(packed.rows.num_rows), of_label)
    found = contact_sheet(s3, layout, packed.only(chosen), version.num_classes)
    return tuple(
        SheetImage(
            uri=image.uri,
            labels=", ".join(image.labels),
            split=image.split,
            width=image.width,
            height=image.height,
            picture=f"data:image/jpeg;base64,{base64.b64encode(image.jpeg).decode()}" if image.jpeg else "",
            trouble=image.trouble,
        )
        for image in found
    )


def rows_of(s3: S3Client, version: DatasetVersion, columns: Sequence[str]) -> Any:
    """Columns of the manifest. Raises DatasetError for one with too many rows for a page to read."""
    rows = sum(version.statuses.values())
    if rows > MOST_ROWS:
        raise DatasetError(
            f"version {version.version} has {rows:,} source images, and pages read up to {MOST_ROWS:,}: its report "
            "shows them, and manifest.parquet lists each"
        )
    return read_manifest(s3, version.layout.bucket, version.layout.manifest, list(columns))
