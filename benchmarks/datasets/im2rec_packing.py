"""Packing files on disk: our drop-in beside im2rec.py as whole processes, and beside the codec alone."""

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

from benchmarks.datasets.errors import BenchmarkError
from benchmarks.datasets.fast_packing import pack_list
from benchmarks.datasets.lists import write_list
from benchmarks.datasets.machine import im2rec
from benchmarks.datasets.photographs import Corpus, photographs
from benchmarks.datasets.run import Run
from benchmarks.datasets.table import Row, at_least
from benchmarks.datasets.turns import Turn, alternate, fastest, run_process, seconds, timed

if TYPE_CHECKING:
    from cv2.typing import MatLike

SIDE = 256
OURS = [sys.executable, "-m", "im2rec"]
OPTIONS = ["--resize", str(SIDE)]


def rows(run: Run) -> Iterator[Row]:
    """Rows against im2rec.py with 2 and 4 threads, whose files are compared with ours, and against the codec."""
    corpus = photographs(run.size(2000, 200))
    root = corpus.make()
    lists = {name: write_list(run.folder / name / "images.lst", corpus) for name in ("ours", "2", "4")}
    prefixes = {name: path.with_suffix("") for name, path in lists.items()}

    def ours() -> Turn:
        remove_output(lists["ours"])
        return run_process([*OURS, *OPTIONS, prefixes["ours"], root])

    def peer(threads: str) -> Turn:
        remove_output(lists[threads])
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


def remove_output(listed: Path) -> None:
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
        remove_output(path)
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
