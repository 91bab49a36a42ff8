"""Pack one shard: S3 -> memory -> packed shard -> S3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.datasets.layout import Split
from include.datasets.plan import ShardTask, VersionPlan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ShardResult(BaseModel):
    """What a packed shard holds; its rows lie in its part of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: Split
    fingerprint: str
    records: int
    bytes: int
    """Size of the shard's ``.rec``."""
    bad: dict[str, int]
    """Images that were not packed, by status."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is: images done (bad ones too), images in all, and images a second so far."""

    done: int
    total: int
    bad: int
    images_per_second: float


def pack_shard(
    s3: S3Client, plan: VersionPlan, shard: ShardTask, *, report: Callable[[ShardProgress], None] | None = None
) -> ShardResult:
    """Pack a planned shard, or return the result of the same shard packed before."""
    raise NotImplementedError
