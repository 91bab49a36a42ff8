"""A published dataset version: ``dataset.json`` and what can be read through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.layout import Split, VersionLayout
from include.recordio.images import ImageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class SplitCounts(BaseModel):
    """Packed images per split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int = 0
    validation: int = 0
    test: int = 0

    @property
    def total(self) -> int:
        """Packed images of all splits."""
        return self.train + self.validation + self.test


class DatasetVersion(BaseModel):
    """``dataset.json``: everything a training job must know of its images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    parent: str | None
    """Address of the version this one grew from."""
    source: str
    uri: str
    """``s3://DATA/datasets/NAME/VERSION/``"""
    labels: list[str]
    """Class names in the order of their index."""
    multi_label: bool
    counts: SplitCounts
    class_counts: dict[str, SplitCounts]
    statuses: dict[str, int]
    """Rows of the manifest by status: ``packed``, ``duplicate``, ``corrupt``, ..."""
    smallest_side: int
    """Shortest edge of any packed image in pixels."""
    next_record_id: int
    packing: ImageOptions
    libraries: dict[str, str]
    created: datetime

    @property
    def num_classes(self) -> int:
        """The hyperparameter ``num_classes``."""
        return len(self.labels)

    @property
    def num_training_samples(self) -> int:
        """The hyperparameter ``num_training_samples``."""
        return self.counts.train

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout.of_uri(self.uri)

    def channel_uri(self, split: Split) -> str:
        """Return the S3 prefix of a channel; it holds exactly one ``.rec``. Raises DatasetError for an empty split."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class HeldOutImage:
    """One packed image of the test split."""

    key: str
    """Key of the source object."""
    labels: tuple[float, ...]
    """As stored in the record: the class index, or one 0/1 per class when multi-label."""
    image_bytes: bytes

    @property
    def label(self) -> int:
        """Class index of a single-label image."""
        return int(self.labels[0])


@dataclass(frozen=True, slots=True)
class TestImageUri:
    """Address and class index of the source object behind a packed test image."""

    __test__ = False

    uri: str
    label: int


def load(s3: S3Client, uri: str) -> DatasetVersion:
    """Read the version at ``s3://DATA/datasets/NAME/VERSION/``. Raises DatasetError where none was published."""
    raise NotImplementedError


def latest(s3: S3Client, data_bucket: str, name: str) -> DatasetVersion | None:
    """Return the newest published version of a dataset, None where there is none."""
    raise NotImplementedError


def held_out_images(s3: S3Client, version: DatasetVersion, limit: int | None = None) -> Iterator[HeldOutImage]:
    """Stream the packed images of the test split with the keys they came from."""
    raise NotImplementedError


def test_image_uris(s3: S3Client, version: DatasetVersion, limit: int | None = None) -> list[TestImageUri]:
    """List the source objects behind the packed test images, for batch transform."""
    raise NotImplementedError


test_image_uris.__test__ = False  # type: ignore[attr-defined]
