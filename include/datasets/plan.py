"""Plan a dataset version: which images, which split, which shard."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.layout import Split, VersionLayout
from include.recordio.images import ImageOptions

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import DatasetConf


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
    source: str
    labels: list[str]
    multi_label: bool
    packing: ImageOptions
    max_bad_fraction: float
    created: datetime
    first_record_id: int
    new_images: int
    """Source images that the parent's manifest does not know."""
    shards: list[ShardTask]
    published: bool = False
    """The version exists already: nothing is left to pack."""

    @property
    def layout(self) -> VersionLayout:
        """Where the version's parts lie."""
        return VersionLayout(self.bucket, self.name, self.version)


def plan_version(
    s3: S3Client,
    conf: DatasetConf,
    *,
    data_bucket: str,
    run_id: str,
    run_after: datetime,
    parent: str | None = None,
) -> VersionPlan:
    """List the source and plan the version of this run; ``parent`` is a version's address or its name."""
    raise NotImplementedError
