"""The documents that planning hands to packing and publishing."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from include.datasets.dataset_source import DatasetSource
from include.datasets.layout import Split, VersionLayout
from include.datasets.version import DatasetVersion, SplitOptions
from include.recordio.options import ImageOptions
from include.run_conf.dataset import Negatives


class ShardTask(BaseModel):
    """One mapped task: the images to pack lie in the plan's document of this shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: Split
    images: int
    fingerprint: str
    """Hash of the planned rows and options: a finished shard is reused only where it is the same."""


class VersionPlan(BaseModel):
    """What ``plan_version`` decided, small enough for XCom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    bucket: str
    parent: str | None
    """Address of the parent version."""
    source: DatasetSource
    labels: list[str]
    multi_label: bool
    negatives: Negatives = "keep"
    packing: ImageOptions
    split: SplitOptions
    max_bad_fraction: float
    created: datetime
    next_record_id: int
    new_images: int
    """Source images that the parent's manifest does not know; all of them where there is no parent."""
    not_asked: dict[str, int] = {}
    """Images of the source by label, for the labels that the version does not have."""
    shards: list[ShardTask]
    published: bool = False
    """The version exists already: nothing is left to pack."""

    @classmethod
    def of_published(cls, version: DatasetVersion, max_bad_fraction: float) -> VersionPlan:
        """Return the plan of a version that is there already."""
        same = set(cls.model_fields) & set(DatasetVersion.model_fields)
        return cls(
            **{name: getattr(version, name) for name in same},
            bucket=version.layout.bucket,
            max_bad_fraction=max_bad_fraction,
            shards=[],
            published=True,
        )

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout(self.bucket, self.name, self.version)
