"""The version that another grows from: what has to be alike, and what it must not lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from include.datasets.errors import DatasetError
from include.datasets.layout import VersionLayout
from include.datasets.planning.selection import Selection
from include.datasets.version import DatasetVersion, load
from include.recordio.options import ImageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf

EXAMPLES = 10


def load_parent(
    s3: S3Client, layout: VersionLayout, parent: str, conf: DatasetConf, packing: ImageOptions
) -> DatasetVersion:
    """Read the parent at an address, or of this name. Raises DatasetError where the conf cannot grow it."""
    version = load(s3, parent if "://" in parent else VersionLayout(layout.bucket, layout.name, parent).uri)
    if version.layout.bucket != layout.bucket:
        raise DatasetError(f"parent {version.uri} is not in the data bucket {layout.bucket}: grow it where it lies")
    if conf.multi_label != version.multi_label:
        raise DatasetError(
            f"dataset.multi_label is {conf.multi_label}, that of parent version {version.version} "
            f"{version.multi_label}: all records of a version have labels of one kind; build one without a parent"
        )
    asked, packed = packing.as_dict(), version.packing.as_dict()
    differing = [f"{name} {packed[name]} -> {asked[name]}" for name in asked if asked[name] != packed[name]]
    if differing:
        raise DatasetError(
            f"dataset.packing differs from parent version {version.version} ({', '.join(differing)}): all images of a "
            "version are packed alike; keep the parent's options, or build a version without a parent"
        )
    return version


def check_growth(selection: Selection, version: DatasetVersion, source: str) -> None:
    """Raise DatasetError where the source is hardly the parent's: it is empty or has lost a class."""
    if not selection.listed:
        raise DatasetError(
            f"{source} lists no image of the {len(version.labels)} classes, but parent version {version.version} has "
            f"{version.counts.total}: correct the source, or build a version without a parent"
        )
    left = _classes(selection.kept) | _classes(selection.chosen.columns)
    lost = [label for label in version.labels if version.class_counts[label].total and label not in left]
    if lost:
        raise DatasetError(
            f"{len(lost)} classes of parent version {version.version} have no image left at {source}: "
            f"{', '.join(lost[:EXAMPLES])}; put their images back, set dataset.keep_removed, or build a version of the "
            "other classes without a parent"
        )


def _classes(images: pa.Table) -> set[str]:
    return {str(label) for label in pc.unique(pc.list_flatten(images["labels"])).to_pylist()}
