"""One image in a hundred is added to a version: what is read, and how long it takes, beside the full build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import Corpus, key_of, photographs
from benchmarks.datasets.run import Run
from benchmarks.datasets.s3_server import S3Server, running_s3, s3_client
from benchmarks.datasets.table import Row, at_most
from benchmarks.datasets.turns import Turn, fastest, seconds, settle, timed
from include.datasets.layout import VersionLayout
from include.datasets.version import DatasetVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_BYTES = 0.02
MOST_SECONDS = 0.05


def rows(run: Run) -> Iterator[Row]:
    """Rows for the bytes and for the seconds, counted by the server and by the clock."""
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
