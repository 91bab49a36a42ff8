from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.datasets.layout import VersionLayout, version_name
from tests.integration.datasets.builds_until_killed import RUN_AFTER, SMALLEST_PART
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg

ROOT = Path(__file__).parents[3]
SMALL_SHARDS = {"packing": {"shard_images": 5}, "max_bad_fraction": 0.5}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Builder:
    """Builds the same version of a bucket again and again, in processes of its own."""

    bucket: Bucket
    parent: str | None
    process: subprocess.Popen[str]

    @property
    def version(self) -> VersionLayout:
        return VersionLayout(self.bucket.name, "pets", version_name("manual__2", RUN_AFTER))

    def build(self, *, kill_at: int | None = None, after_seconds: float = 0.0) -> dict[str, Any]:
        order = {
            "conf": {"name": "pets", **SMALL_SHARDS},
            "bucket": self.bucket.name,
            "run_id": "manual__2",
            "parent": self.parent,
            "kill_at": kill_at,
            "after_seconds": after_seconds,
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def objects(self) -> dict[str, bytes]:
        return {key: self.bucket.get(key) for key in self.bucket.listing(self.version.prefix)}

    def forget(self) -> None:
        keys = [{"Key": key} for key in self.bucket.listing(self.version.prefix)]
        self.bucket.s3.delete_objects(Bucket=self.bucket.name, Delete={"Objects": keys})


@pytest.fixture(scope="module")
def forking_process(endpoint: str) -> Iterator[subprocess.Popen[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", SMALLEST_PART)
        patch.setattr(logging.getLogger("werkzeug"), "disabled", True)  # ten thousand lines that nobody reads
        command = [sys.executable, "-m", "tests.integration.datasets.builds_until_killed", endpoint]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with process:
            yield process
            process.kill()


def a_first_version(bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 12})
    bucket.put("images/cat/broken.jpg", b"\xff\xd8\xff")
    bucket.put("images/dog/again.jpg", bucket.get("images/dog/000.jpg"))


def a_version_that_follows_its_source(bucket: Bucket) -> str:
    """Images arrive, vanish, are replaced, change their class, and one is renamed."""
    a_first_version(bucket)
    parent = bucket.build(bucket.conf(**SMALL_SHARDS), "manual__1")
    bucket.put_images({"cat": 3, "dog": 3}, first=50)
    bucket.put("images/cat/003.jpg", jpeg(30, 30, seed=7))
    bucket.put("images/dog/moved.jpg", bucket.get("images/cat/004.jpg"))
    bucket.put("images/dog/renamed.jpg", bucket.get("images/dog/005.jpg"))
    for gone in ("cat/001", "cat/004", "cat/009", "dog/000", "dog/005", "dog/011"):
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"images/{gone}.jpg")
    return parent.uri


def a_version_of_removals(bucket: Bucket) -> str:
    bucket.put_images({"cat": 14, "dog": 14})
    parent = bucket.build(bucket.conf(**SMALL_SHARDS), "manual__1")
    for number in (1, 4, 5, 11):
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"images/cat/{number:03d}.jpg")
    return parent.uri


@pytest.mark.parametrize(
    ("prepare", "builds"),
    [(a_first_version, 12), (a_version_that_follows_its_source, 22), (a_version_of_removals, 16)],
)
def test_a_build_killed_anywhere_ends_on_retry_as_if_nothing_had_happened(
    bucket: Bucket, forking_process: subprocess.Popen[str], prepare: Callable[[Bucket], str | None], builds: int
) -> None:
    builder = Builder(bucket, prepare(bucket), forking_process)
    undisturbed = builder.build()
    assert undisturbed["exit_code"] == 0
    wanted = builder.objects()
    assert f"{builder.version.prefix}dataset.json" in wanted
    killed = 0
    for number in range(builds):
        builder.forget()
        draw = random.Random(f"{prepare.__name__}/{number}")
        kill_at, after = draw.randint(1, undisturbed["requests"]), draw.uniform(0, 0.01)
        end = builder.build(kill_at=kill_at, after_seconds=after)
        killed += end["exit_code"] == -9
        log.info("%s %s: killed %.1f ms after request %s", prepare.__name__, number, 1000 * after, end["last"])
        assert builder.build()["exit_code"] == 0
        assert builder.objects() == wanted
        assert bucket.stale_uploads() == 0
    assert killed >= builds * 3 // 4
