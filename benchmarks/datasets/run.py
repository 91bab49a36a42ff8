"""One run of the benchmarks: how large, and where its files lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.datasets.photographs import CACHE, Corpus
from benchmarks.datasets.s3_server import S3Server, running_s3

MEMORY = Path("/dev/shm")  # noqa: S108 - the file system, a fresh folder of it is made
NEEDED_BYTES = 8 << 30


@dataclass(frozen=True)
class Run:
    """The size of a run, and its own folder, on the disk of the kept images."""

    quick: bool
    folder: Path

    def size(self, full: int, quick: int) -> int:
        """Choose a number of images or turns."""
        return quick if self.quick else full

    @contextmanager
    def s3(self, *corpora: Corpus) -> Iterator[S3Server]:
        """Serve an empty bucket `data` and each corpus as a bucket of its name."""
        with self.buckets() as buckets:
            for corpus in corpora:
                (buckets / corpus.name).symlink_to(corpus.make())
            with running_s3(buckets) as server:
                yield server

    @contextmanager
    def buckets(self) -> Iterator[Path]:
        """Make a folder with an empty bucket `data`, in memory where that is large enough: a fast server's disk."""
        in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= NEEDED_BYTES
        buckets = Path(mkdtemp(prefix="bench-buckets-", dir=MEMORY if in_memory else self.folder))
        try:
            (buckets / "data").mkdir()
            yield buckets
        finally:
            shutil.rmtree(buckets)


@contextmanager
def started_run(*, quick: bool) -> Iterator[Run]:
    """Begin a run; its folder is gone afterwards."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix="run-", dir=CACHE))
    try:
        yield Run(quick, folder)
    finally:
        shutil.rmtree(folder)
