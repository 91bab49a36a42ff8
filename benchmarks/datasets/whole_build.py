"""S3 -> .rec in S3: our build beside the write-ups' way, on one server, with and without latency."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.datasets.machine import PEERS, im2rec
from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import CLASSES, Corpus, photographs
from benchmarks.datasets.run import Run
from benchmarks.datasets.s3_server import LATENCY_SECONDS
from benchmarks.datasets.table import Row, at_least
from benchmarks.datasets.turns import ROOT, BenchmarkError, Turn, alternate, fastest, run_process, seconds, timed
from include.datasets.version import VersionPlan

CORES = 2
TRAINING_SHARE = 0.8
MODULE = [sys.executable, "-m", "benchmarks.datasets.our_build"]
DOWNLOAD: list[str | Path] = [sys.executable, ROOT / "benchmarks/datasets/write_up.py"]
AWS = PEERS.with_name("aws")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def build(run: Run) -> Iterator[Row]:
    """Two rows for each latency: our build in one process, and in a process for each task."""
    if not AWS.exists():
        raise BenchmarkError("whole build: the peers' environment is missing, see requirements.in in benchmarks/")
    corpus = photographs(run.size(2000, 200))
    with run.s3(corpus) as server:
        for endpoint, where, target, turns in (
            (server.fast, "no latency", 5.0, run.size(3, 1)),
            (server.slow, f"{LATENCY_SECONDS * 1000:.0f} ms a request", 15.0, 1),
        ):
            comparison = Comparison(run.folder, corpus, endpoint)
            taken = alternate(
                {
                    "write-up": comparison.write_up,
                    "one process": comparison.one_process,
                    "tasks": comparison.process_a_task,
                },
                turns,
            )
            peer = taken["write-up"]
            cpu = {name: f"{min(turn.cpu for turn in taken[name]):.2f} s" for name in ("write-up", "one process")}
            print(
                f"whole build, {where}: the write-up's steps {comparison.steps}, CPU {cpu}", file=sys.stderr, flush=True
            )
            for name, ours in (("one process", "one process"), ("one process per task", "tasks")):
                ratio = fastest(peer) / fastest(taken[ours])
                measure = f"whole build of {corpus.count} images, S3 to .rec in S3, {where}, {name}"
                wanted = target if ours == "one process" else None
                yield at_least(measure, f"write-up {seconds(peer)}", seconds(taken[ours]), ratio, wanted)


class Comparison:
    """Both ways from the same bucket; every turn begins with nothing built."""

    def __init__(self, folder: Path, corpus: Corpus, endpoint: str) -> None:
        self._folder = folder
        self._corpus = corpus
        self._endpoint = endpoint
        self._count = 0
        self.steps: dict[str, str] = {}

    def write_up(self) -> Turn:
        """Download, pack the training and the validation images with im2rec.py, upload."""
        work = self._work()
        (work / "images").mkdir()
        (work / "s3-paths.txt").write_text("".join(f"{key}\n" for key in self._corpus.keys))
        self._write_lists(work)
        steps = {"download": run_process([*DOWNLOAD, self._endpoint, self._corpus.name], cwd=work)}
        for name in ("train", "val"):
            options = ["--resize", "256", "--num-thread", "4", "--pack-label"]
            steps[name] = run_process([*im2rec(), *options, work / f"{name}.lst", work / "images"])
        for name in ("train", "val"):
            upload: list[str | Path] = [AWS, "s3", "cp", work / f"{name}.rec", f"s3://data/write-up/{name}.rec"]
            upload += ["--endpoint-url", self._endpoint]
            steps[f"upload of {name}"] = run_process(upload, variables=CREDENTIALS)
        shutil.rmtree(work)
        self.steps = {name: f"{turn.wall:.2f} s" for name, turn in steps.items()}
        return sum(steps.values(), Turn(0, 0))

    def one_process(self) -> Turn:
        """Our build in one process, two shards at once."""
        return run_process([*MODULE, "whole", self._document()])

    def process_a_task(self) -> Turn:
        """Our build as the DAG runs it, but for Airflow: a fresh process a task, two mapped ones at once."""
        document = self._document()

        def build() -> None:
            run_process([*MODULE, "plan", document])
            plan = VersionPlan.model_validate_json(document.with_suffix(".plan").read_text())
            with ThreadPoolExecutor(CORES) as pool:
                list(pool.map(lambda shard: run_process([*MODULE, "pack", document, str(shard.index)]), plan.shards))
            run_process([*MODULE, "publish", document])

        return timed(build)

    def _document(self) -> Path:
        document = self._work() / "build.json"
        build = Build(
            endpoint=self._endpoint,
            source=f"s3://{self._corpus.name}/",
            run_id=f"{self._endpoint} {self._count}",
            shards_at_once=CORES,
        )
        document.write_text(build.model_dump_json())
        return document

    def _work(self) -> Path:
        self._count += 1
        work = self._folder / f"build-{self._endpoint.rpartition(':')[2]}-{self._count}"
        work.mkdir()
        return work

    def _write_lists(self, work: Path) -> None:
        numbers = list(range(self._corpus.count))
        random.Random(0).shuffle(numbers)  # noqa: S311 - an order
        cut = int(len(numbers) * TRAINING_SHARE)
        for name, chosen in (("train", numbers[:cut]), ("val", numbers[cut:])):
            lines = [f"{number}\t{number % CLASSES:.6f}\t{number:06d}.jpg\n" for number in chosen]
            (work / f"{name}.lst").write_text("".join(lines))
