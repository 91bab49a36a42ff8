"""Packing files on disk: our drop-in beside im2rec.py as whole processes, beside the codec alone, and scaled."""

from __future__ import annotations

import filecmp
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from benchmarks.datasets.fast_packing import pack_list
from benchmarks.datasets.machine import im2rec
from benchmarks.datasets.photographs import (
    Corpus,
    grainy_photographs,
    large_photographs,
    light_photographs,
    photographs,
    write_list,
)
from benchmarks.datasets.run import Run
from benchmarks.datasets.table import Row, at_least
from benchmarks.datasets.turns import BenchmarkError, Measured, Turn, alternate, fastest, run_process, seconds, timed

if TYPE_CHECKING:
    from cv2.typing import MatLike

SIDE = 256
OURS = [sys.executable, "-m", "im2rec"]
OPTIONS = ["--resize", str(SIDE)]
SCALED_DECODING = 4.0


def packing(run: Run) -> Iterator[Row]:
    """Rows against im2rec.py with 2 and 4 threads, whose files are compared with ours, and against the codec."""
    corpus = photographs(run.size(2000, 200))
    root = corpus.make()
    lists = {name: write_list(run.folder / name / "images.lst", corpus) for name in ("ours", "2", "4")}
    prefixes = {name: path.with_suffix("") for name, path in lists.items()}

    def ours() -> Turn:
        _remove_output(lists["ours"])
        return run_process([*OURS, *OPTIONS, prefixes["ours"], root])

    def peer(threads: str) -> Turn:
        _remove_output(lists[threads])
        return run_process([*im2rec(), *OPTIONS, "--num-thread", threads, prefixes[threads], root])

    taken = alternate(
        {
            "ours": ours,
            "2": lambda: peer("2"),
            "4": lambda: peer("4"),
        },
        run.size(9, 2),
    )
    for threads in ("2", "4"):
        _compare(prefixes["ours"], prefixes[threads])
        yield at_least(
            f"pack {corpus.count} photographs, resize {SIDE}, whole processes, same bytes",
            f"im2rec.py --num-thread {threads} {seconds(taken[threads])}",
            seconds(taken["ours"]),
            fastest(taken[threads]) / fastest(taken["ours"]),
            1.5,
        )
    yield _beside_the_codec(run, corpus, root, lists["ours"])


def large(run: Run) -> Iterator[Row]:
    """Rows for large photographs, with `fast_decode` and without: im2rec.py decodes every pixel.

    Scaled decoding still reads every bit of a file, so its gain shrinks as the bytes of a photograph grow.
    """
    count = run.size(200, 40)
    yield from _beside_im2rec(run, light_photographs(count), {"fast": SCALED_DECODING})
    yield from _beside_im2rec(run, large_photographs(count), {"fast": SCALED_DECODING, "exact": None})
    yield from _beside_im2rec(run, grainy_photographs(count), {"fast": SCALED_DECODING})


def _beside_im2rec(run: Run, corpus: Corpus, targets: dict[str, float | None]) -> Iterator[Row]:
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


def _remove_output(listed: Path) -> None:
    """Remove what an earlier turn packed: a file to be replaced costs its removal."""
    for ending in (".rec", ".idx"):
        listed.with_suffix(ending).unlink(missing_ok=True)


def _compare(ours: Path, theirs: Path) -> None:
    for ending in (".rec", ".idx"):
        if not filecmp.cmp(f"{ours}{ending}", f"{theirs}{ending}", shallow=False):
            raise BenchmarkError(f"{ours.name}{ending} differs from that of im2rec.py in {theirs.parent}")


def _beside_the_codec(run: Run, corpus: Corpus, root: Path, path: Path) -> Row:
    threads = os.cpu_count() or 1
    cv2.setNumThreads(1)
    sources = [(root / key).read_bytes() for key in corpus.keys]

    def codec() -> None:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(_decode_resize_encode, sources):
                pass

    def ours() -> Turn:
        _remove_output(path)
        return timed(lambda: pack_list(path, root, SIDE))

    taken = alternate(
        {"codec": lambda: timed(codec), "ours": ours},
        run.size(15, 2),
    )
    return at_least(
        "the same in one process, from files to a file, against the codec's own ceiling",
        f"{threads} threads of cv2, bytes in memory {seconds(taken['codec'])}",
        seconds(taken["ours"]),
        fastest(taken["codec"]) / fastest(taken["ours"]),
        0.95,
    )


def _decode_resize_encode(source: bytes) -> int:
    pixels = cast("MatLike", cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR))
    height, width = pixels.shape[:2]
    size = (SIDE, height * SIDE // width) if height > width else (width * SIDE // height, SIDE)
    return len(cv2.imencode(".jpg", cv2.resize(pixels, size), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
