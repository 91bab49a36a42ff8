"""What grows with the number of images: the memory of a process, a version that gets more images, the cost of each."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import Corpus, key_of, large_photographs, photographs, small_images
from benchmarks.datasets.run import Run
from benchmarks.datasets.s3_server import S3Server, running_s3, s3_client
from benchmarks.datasets.table import Row, at_most, holds
from benchmarks.datasets.turns import Turn, fastest, run_process, seconds, settle, timed
from include.datasets.layout import VersionLayout
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PACK = [sys.executable, "-m", "benchmarks.datasets.our_build", "pack"]
SHARD = 1_600
"""Images of a shard: the training images of the small version fill one, those of the large one a hundred."""
MOST_MEGABYTES = 400
MOST_GROWTH = 1.10
MOST_BYTES = 0.02
MOST_SECONDS = 0.05


def memory(run: Run) -> Iterator[Row]:
    """Compare one shard with a hundred that a process packs one after the other, and look at large images."""
    few, many = small_images(run.size(2_000, 1_000)), small_images(run.size(200_000, 10_000))
    least, most = (_peak(run, corpus, 32, SHARD) for corpus in (few, many))
    yield holds(
        f"peak memory of a packing process, {few.count:,} and {many.count:,} images",
        f"{few.count:,}: {least:.0f} MB",
        f"{many.count:,}: {most:.0f} MB",
        most / least,
        f"<= {MOST_GROWTH:.2f} and < {MOST_MEGABYTES} MB",
        met=most / least <= MOST_GROWTH and most < MOST_MEGABYTES,
    )
    large = large_photographs(run.size(200, 40))
    peak = _peak(run, large, 256, 2_000)
    yield holds(
        f"the same, {large.count} photographs of 12 megapixels",
        "",
        f"{peak:.0f} MB",
        peak / least,
        f"< {MOST_MEGABYTES} MB",
        met=peak < MOST_MEGABYTES,
    )


def _peak(run: Run, corpus: Corpus, side: int, shard_images: int) -> float:
    with run.s3(corpus) as server:
        document = run.folder / f"memory-{corpus.name}-{corpus.count}.json"
        build = Build(
            endpoint=server.fast,
            source=f"s3://{corpus.name}/",
            run_id="memory",
            resize=side,
            shard_images=shard_images,
        )
        document.write_text(build.model_dump_json())
        run_process([sys.executable, "-m", "benchmarks.datasets.our_build", "plan", document])
        run_process([*PACK, document])
        return float(document.with_suffix(".peak").read_text())


def growth(run: Run) -> Iterator[Row]:
    """Rows for the bytes and the seconds that one image in a hundred costs a version, beside its full build."""
    there = run.size(20_000, 2_000)
    new = there // 100
    corpus = photographs(there + new, distinct=run.size(2_000, 200))
    corpus.make()
    with run.buckets() as buckets:
        _link(corpus, there, buckets / corpus.name)
        with running_s3(buckets) as server:
            first = Build(endpoint=server.fast, source=f"s3://{corpus.name}/", run_id="")
            full, full_bytes, version = _builds(first, "full", run.size(2, 1), server)
            client = s3_client(server.fast)
            for number in range(there, there + new):
                body = (corpus.folder / key_of(number)).read_bytes()
                client.put_object(Bucket=corpus.name, Key=key_of(number), Body=body)
            second = first.model_copy(update={"parent": version})
            added, added_bytes, _ = _builds(second, "added", run.size(3, 1), server)
    what = f"{new} photographs added to a version of {there:,}"
    yield at_most(
        f"{what}: bytes read from S3",
        f"full build {full_bytes / 1e6:,.1f} MB",
        f"{added_bytes / 1e6:,.2f} MB",
        added_bytes / full_bytes,
        MOST_BYTES,
    )
    yield at_most(
        f"{what}: seconds in process",
        f"full build {seconds(full)}",
        seconds(added),
        fastest(added) / fastest(full),
        MOST_SECONDS,
    )


def _builds(build: Build, name: str, turns: int, server: S3Server) -> tuple[list[Turn], int, str]:
    """Build so often; returns the turns, the bytes that the server sent for the last, and its version, which stays."""
    taken: list[Turn] = []
    built: list[DatasetVersion] = []
    for number in range(turns):
        if built:  # a turn writes to the memory that the one before it took
            _remove(s3_client(server.fast), built.pop().layout)
        settle()
        mark = server.mark()
        turn = build.model_copy(update={"run_id": f"{name} {number}"})
        taken.append(timed(lambda turn=turn: built.append(turn.whole())))  # type: ignore[misc]
    return taken, server.traffic(mark).sent, built[0].version


def _remove(client: S3Client, layout: VersionLayout) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=layout.bucket, Prefix=layout.prefix):
        for listed in page["Contents"]:
            client.delete_object(Bucket=layout.bucket, Key=listed["Key"])


def _link(corpus: Corpus, count: int, bucket: Path) -> None:
    for folder in corpus.folder.iterdir():
        (bucket / folder.name).mkdir(parents=True)
    for number in range(count):
        (bucket / key_of(number)).symlink_to(corpus.folder / key_of(number))


def scaling(run: Run) -> Iterator[Row]:
    """Compare the whole build's seconds an image, and look at the planner's memory."""
    few, many = small_images(1_000), small_images(run.size(117_000, 10_000))
    small, small_memory = _cost(run, few, run.size(5, 3))
    large, large_memory = _cost(run, many, 1)
    yield holds(
        f"cost of an image in a whole build (plan, pack, publish), {few.count:,} and {many.count:,} images",
        f"{few.count:,}: {small * 1e6:.0f} us",
        f"{many.count:,}: {large * 1e6:.0f} us, {large * many.count:.1f} s in all",
        large / small,
        f"<= {MOST_GROWTH:.2f}",
        met=large / small <= MOST_GROWTH,
    )
    yield Row(
        "peak memory of the planning process, the same versions",
        f"{few.count:,}: {small_memory:.0f} MB",
        f"{many.count:,}: {large_memory:.0f} MB",
    )


def _cost(run: Run, corpus: Corpus, turns: int) -> tuple[float, float]:
    """The seconds of one image, the median of several builds after one to warm up, and the planner's megabytes."""
    with run.s3(corpus) as server:
        builds = [
            Build(endpoint=server.fast, source=f"s3://{corpus.name}/", run_id=f"cost {turn}", resize=32)
            for turn in range(turns + 1)
        ]
        if turns > 1:
            builds[-1].whole()
        taken = [timed(build.whole).wall for build in builds[:turns]]
        document = run.folder / f"cost-{corpus.count}.json"
        document.write_text(builds[-1].model_copy(update={"run_id": "planning"}).model_dump_json())
        run_process([sys.executable, "-m", "benchmarks.datasets.our_build", "plan", document])
    return statistics.median(taken) / corpus.count, float(document.with_suffix(".peak").read_text())
