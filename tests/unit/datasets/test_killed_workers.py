from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from include.datasets.publish import publish_version
from include.datasets.shard import pack_shard
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).parents[3]


def test_a_worker_killed_in_the_middle_of_a_shard_costs_only_a_retry(
    s3: S3Client, endpoint: str, bucket: Bucket
) -> None:
    bucket.put_images({"cat": 20, "dog": 20}, side=40)
    plan = bucket.plan(bucket.conf())
    command = [sys.executable, "-m", "tests.unit.datasets.pack_until_killed", endpoint, plan.model_dump_json()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = worker.stdout.readline()
        worker.kill()
    assert said == "uploading\n"
    assert bucket.stale_uploads() == 1
    assert bucket.listing(plan.layout.shards) == []

    version = publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])

    undisturbed = bucket.build(bucket.conf(), "manual__2")
    for split in ("train", "validation", "test"):
        assert bucket.get(version.layout.records(split)) == bucket.get(undisturbed.layout.records(split))
    assert bucket.stale_uploads() == 0
    assert not [key for key in bucket.listing() if "/shards/" in key or "/plan/" in key]
