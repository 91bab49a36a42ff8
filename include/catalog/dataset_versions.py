"""Which datasets there are, their versions, and how many images of their sources are in none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.catalog.models import registered_datasets
from include.datasets.layout import VersionLayout
from include.datasets.planning.plan import find_new_images
from include.datasets.source_image import BAD, NOT_MEANT
from include.datasets.version import find
from include.retraining import dataset_conf, dataset_names
from include.run_conf import DatasetConf

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.settings import Settings

MOST_COUNTED = 200_000
"""Source images up to which new ones are counted for a page: the count holds the version's manifest in memory."""


@dataclass(frozen=True)
class VersionSummary:
    """The counts of a dataset version, of images.

    `new` are those that its parent did not know. `bad` were meant to be packed and could not be; `left_out` were not
    meant to be: other classes, duplicates, files that are not images of the source.
    """

    version: str
    created: datetime
    parent: str
    images: int
    train: int
    validation: int
    test: int
    classes: int
    new: int
    bad: int
    left_out: int

    @classmethod
    def of(cls, version: DatasetVersion) -> VersionSummary:
        """The counts in a version's document."""
        counts, statuses = version.counts, version.statuses
        return cls(
            version=version.version,
            created=version.created,
            parent=VersionLayout.of_uri(version.parent).version if version.parent else "",
            images=counts.total,
            train=counts.train,
            validation=counts.validation,
            test=counts.test,
            classes=version.num_classes,
            new=version.new_images,
            bad=sum(count for status, count in statuses.items() if status in BAD),
            left_out=sum(count for status, count in statuses.items() if status in NOT_MEANT),
        )


def read_summary(s3: S3Client, layout: VersionLayout) -> VersionSummary | None:
    """The counts of a version; None if it is not published."""
    version = find(s3, layout)
    return None if version is None else VersionSummary.of(version)


def known_datasets(client: Callable[[str], Any], settings: Settings) -> tuple[str, ...]:
    """The datasets with a version in S3 or a model in the registry."""
    of_models = registered_datasets(client("sagemaker"), settings)
    return tuple(sorted({*dataset_names(client("s3"), settings.data_bucket), *of_models}))


def images_waiting(s3: S3Client, version: DatasetVersion) -> str:
    """How many images of the source a version does not know, in words."""
    addresses = version.source.addresses
    if not all(address.startswith("s3://") and address.endswith("/") for address in addresses):
        return "not counted: the source is not a folder in S3"
    if sum(version.statuses.values()) > MOST_COUNTED:
        return f"not counted: the source has more than {MOST_COUNTED:,} images"
    new = find_new_images(s3, dataset_conf(DatasetConf(), version), version)
    classes = f", and new classes: {', '.join(new.new_labels)}" if new.new_labels else ""
    return f"{new.count:,}{classes}"
