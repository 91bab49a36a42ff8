"""Peak memory of a process that packs shards, with few images and with many."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import Corpus, large_photographs, small_images
from benchmarks.datasets.run import Run
from benchmarks.datasets.table import Row, holds
from benchmarks.datasets.turns import run_process

PACK = [sys.executable, "-m", "benchmarks.datasets.our_build", "pack"]
SHARD = 1_600
"""Images of a shard: the training images of the small version fill one, those of the large one a hundred."""
MOST_MEGABYTES = 400
MOST_GROWTH = 1.10


def rows(run: Run) -> Iterator[Row]:
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
