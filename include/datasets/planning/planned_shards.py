"""Cut the images to pack into shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import pyarrow as pa

from include.datasets.layout import SPLITS, Split
from include.datasets.manifest import PLANNED, lay_out
from include.datasets.planning.image_table import ImagesByContent
from include.datasets.planning.spread import fraction
from include.datasets.planning.version_plan import ShardTask, VersionPlan

DIGESTED = ("bucket", "key", "etag", "labels", "record_id", "split")


def cut_shards(
    plan: VersionPlan, chosen: ImagesByContent, splits: Mapping[str, Split], shard_images: int
) -> Iterator[tuple[ShardTask, pa.Table]]:
    """Give each image its record id and its shard, of about equal size within a split; yields the manifest rows.

    Images are mixed by content, not class after class: training reads a ``.rec`` front to back and shuffles only within
    a window.
    """
    count = len(chosen)
    points = np.fromiter((fraction(plan.split.seed, "order", etag) for etag in chosen), np.float64, count)
    places_of_splits = np.fromiter((SPLITS.index(splits[etag]) for etag in chosen), np.int8, count)
    order = np.argsort(points, kind="stable")
    index, record_id = 0, plan.next_record_id
    for place, split in enumerate(SPLITS):
        rows = order[places_of_splits[order] == place]
        shards = -(-len(rows) // shard_images)
        for start, end in pairwise(len(rows) * number // shards for number in range(shards + 1 if shards else 0)):
            planned = lay_out(
                chosen.images.take(rows[start:end]).columns,
                split=split,
                status=PLANNED,
                record_id=pa.array(np.arange(record_id, record_id + end - start)),
                shard=f"{plan.version}/{index:05d}",
            )
            yield (
                ShardTask(index=index, split=split, images=end - start, fingerprint=_fingerprint(plan, planned)),
                planned,
            )
            index, record_id = index + 1, record_id + end - start


def _fingerprint(plan: VersionPlan, planned: pa.Table) -> str:
    packing = json.dumps(plan.packing.as_dict(), separators=(",", ":"))
    digest = hashlib.sha256(f"{packing}{plan.labels}{plan.multi_label}".encode())
    for name in DIGESTED:
        digest.update(repr(planned[name].to_pylist()).encode())
    return digest.hexdigest()[:16]
