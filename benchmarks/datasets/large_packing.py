"""Large photographs: our ``fast_decode`` beside im2rec.py, which decodes every pixel."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.datasets.im2rec_packing import OPTIONS, OURS, SIDE
from benchmarks.datasets.lists import write_list
from benchmarks.datasets.machine import im2rec
from benchmarks.datasets.photographs import large_photographs
from benchmarks.datasets.run import Run
from benchmarks.datasets.table import Row, at_least
from benchmarks.datasets.turns import alternate, fastest, run_process, seconds


def rows(run: Run) -> Iterator[Row]:
    """Rows with ``fast_decode``, and without, as whole processes."""
    corpus = large_photographs(run.size(200, 40))
    root = corpus.make()
    names = ("fast", "exact", "peer")
    lists = {name: write_list(run.folder / "large" / name / "images.lst", corpus) for name in names}
    fast = [sys.executable, "-m", "benchmarks.datasets.fast_packing", lists["fast"], root, str(SIDE)]
    taken = alternate(
        {
            "fast": lambda: run_process(fast),
            "exact": lambda: run_process([*OURS, *OPTIONS, lists["exact"].with_suffix(""), root]),
            "peer": lambda: run_process([*im2rec(), *OPTIONS, "--num-thread", "2", lists["peer"].with_suffix(""), root]),
        },
        run.size(3, 1),
    )
    peer = f"im2rec.py --num-thread 2 {seconds(taken['peer'])}"
    for name, way, target in (("fast", "fast_decode", 4.0), ("exact", "every pixel, same bytes", None)):
        ratio = fastest(taken["peer"]) / fastest(taken[name])
        yield at_least(
            f"{corpus.count} photographs of 12 megapixels, {way}, whole processes", peer, seconds(taken[name]), ratio, target
        )
