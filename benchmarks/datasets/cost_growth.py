"""What an image costs in a small version and in a large one."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import Corpus, small_images
from benchmarks.datasets.run import Run
from benchmarks.datasets.table import Row, holds
from benchmarks.datasets.turns import run_process, timed

MOST_GROWTH = 1.10


def rows(run: Run) -> Iterator[Row]:
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
    """Return the seconds an image, the median of several builds after one to warm up, and the planner's megabytes."""
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
