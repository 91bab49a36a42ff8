"""A .lst over a corpus, for im2rec.py and for our drop-in."""

from __future__ import annotations

from pathlib import Path

from benchmarks.datasets.photographs import CLASSES, Corpus, key_of


def write_list(path: Path, corpus: Corpus) -> Path:
    """Write the corpus in order, its class as the label; the path holds folders below the corpus's root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{number}\t{number % CLASSES:.6f}\t{key_of(number)}\n" for number in range(corpus.count)]
    path.write_text("".join(lines))
    return path
