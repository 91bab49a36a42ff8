"""Large photographs: our ``fast_decode`` beside im2rec.py, which decodes every pixel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets.im2rec_packing import OPTIONS, OURS, SIDE
from benchmarks.datasets.lists import write_list
from benchmarks.datasets.machine import im2rec
from benchmarks.datasets.photographs import Corpus, grainy_photographs, large_photographs, light_photographs
from benchmarks.datasets.run import Run
from benchmarks.datasets.table import Row, at_least
from benchmarks.datasets.turns import Measured, alternate, fastest, run_process, seconds

WANTED = 4.0


def rows(run: Run) -> Iterator[Row]:
    """Rows with ``fast_decode``, and without, as whole processes.

    Scaled decoding still reads every bit of a file, so its gain shrinks as the bytes of a photograph grow.
    """
    count = run.size(200, 40)
    yield from _compare(run, light_photographs(count), {"fast": WANTED})
    yield from _compare(run, large_photographs(count), {"fast": WANTED, "exact": None})
    yield from _compare(run, grainy_photographs(count), {"fast": WANTED})


def _compare(run: Run, corpus: Corpus, targets: dict[str, float | None]) -> Iterator[Row]:
    root = corpus.make()
    megabytes = sum((root / key).stat().st_size for key in corpus.keys) / corpus.count / 1e6
    names = ("fast", "exact", "peer")
    lists = {name: write_list(run.folder / corpus.name / name / "images.lst", corpus) for name in names}
    fast: list[str | Path] = [sys.executable, "-m", "benchmarks.datasets.fast_packing", lists["fast"], root, str(SIDE)]
    measured: dict[str, Measured] = {
        "fast": lambda: run_process(fast),
        "exact": lambda: run_process([*OURS, *OPTIONS, lists["exact"].with_suffix(""), root]),
        "peer": lambda: run_process([*im2rec(), *OPTIONS, "--num-thread", "2", lists["peer"].with_suffix(""), root]),
    }
    taken = alternate({name: measured[name] for name in (*targets, "peer")}, run.size(3, 1))
    peer = f"im2rec.py --num-thread 2 {seconds(taken['peer'])}"
    ways = {"fast": "fast_decode", "exact": "every pixel, same bytes"}
    for name, target in targets.items():
        ratio = fastest(taken["peer"]) / fastest(taken[name])
        measure = f"{corpus.count} photographs of 12 megapixels, {megabytes:.1f} MB, {ways[name]}, whole processes"
        yield at_least(measure, peer, seconds(taken[name]), ratio, target)
