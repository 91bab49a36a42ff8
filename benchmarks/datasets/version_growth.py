"""One image in a hundred is added to a version: what is read, and how long it takes, beside the full build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import Corpus, key_of, photographs
from benchmarks.datasets.run import Run
from benchmarks.datasets.s3_server import running_s3, s3_client
from benchmarks.datasets.table import Row, at_most
from benchmarks.datasets.turns import timed

MOST_BYTES = 0.02
MOST_SECONDS = 0.05


def rows(run: Run) -> Iterator[Row]:
    """Rows for the bytes and for the seconds, counted by the server and by the clock."""
    there = run.size(20_000, 2_000)
    new = there // 100
    corpus = photographs(there + new, distinct=run.size(2_000, 200))
    corpus.make()
    with TemporaryDirectory(prefix="buckets-", dir=run.folder) as name:
        buckets = Path(name)
        _link(corpus, there, buckets / corpus.name)
        (buckets / "data").mkdir()
        with running_s3(buckets) as server:
            first = Build(endpoint=server.fast, source=f"s3://{corpus.name}/", run_id="first")
            mark = server.mark()
            full = timed(first.whole)
            full_bytes = server.traffic(mark).sent
            client = s3_client(server.fast)
            for number in range(there, there + new):
                body = (corpus.folder / key_of(number)).read_bytes()
                client.put_object(Bucket=corpus.name, Key=key_of(number), Body=body)
            version = sorted((buckets / "data/datasets/benchmark").iterdir())[0].name
            second = first.model_copy(update={"run_id": "second", "parent": version})
            mark = server.mark()
            added = timed(second.whole)
            added_bytes = server.traffic(mark).sent
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
        f"full build {full.wall:.2f} s",
        f"{added.wall:.2f} s",
        added.wall / full.wall,
        MOST_SECONDS,
    )


def _link(corpus: Corpus, count: int, bucket: Path) -> None:
    for folder in corpus.folder.iterdir():
        (bucket / folder.name).mkdir(parents=True)
    for number in range(count):
        os.link(corpus.folder / key_of(number), bucket / key_of(number))
