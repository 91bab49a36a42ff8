"""Other writers on the same images: WebDataset, mosaicml-streaming, img2dataset."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets.files_on_disk import OPTIONS, OURS
from benchmarks.datasets.machine import PEERS
from benchmarks.datasets.our_build import Build
from benchmarks.datasets.photographs import Corpus, photographs, write_list
from benchmarks.datasets.run import Run
from benchmarks.datasets.s3_server import S3Server
from benchmarks.datasets.table import Row, absent, at_least
from benchmarks.datasets.turns import BenchmarkError, Turn, alternate, fastest, run_process, seconds

WRITE: list[str | Path] = [PEERS, "-m", "benchmarks.datasets.peer_writers"]
FROM_DISK = {"webdataset": "WebDataset TarWriter", "mosaic": "mosaicml-streaming MDSWriter"}


def writers(run: Run) -> Iterator[Row]:
    """A row for each writer; one that cannot run here leaves its reason."""
    corpus = photographs(run.size(2000, 200))
    if not PEERS.exists():
        yield absent("other writers", "there is no .venv-peers: make bench-datasets makes it where it can be installed")
        return
    for peer, title in FROM_DISK.items():
        try:
            yield _from_disk(run, corpus, peer, title)
        except BenchmarkError as error:
            yield absent(title, str(error).strip().splitlines()[-1])
    try:
        with run.s3(corpus) as server:
            yield _from_server(run, corpus, server)
    except BenchmarkError as error:
        yield absent("img2dataset", str(error).strip().splitlines()[-1])


def _from_disk(run: Run, corpus: Corpus, peer: str, title: str) -> Row:
    root = corpus.make()
    listed = write_list(run.folder / "writers" / "images.lst", corpus)

    def write() -> Turn:
        folder = _empty(run.folder / "writers" / peer)
        return run_process([*WRITE, peer, listed, root, folder])

    measured = {"peer": write, "ours": lambda: run_process([*OURS, *OPTIONS, listed.with_suffix(""), root])}
    taken = alternate(measured, run.size(3, 1))
    title = f"{title}, {_alone(run.folder / 'writers' / peer)},"
    return _row(
        f"{corpus.count} photographs from disk, resize 256, whole processes", title, taken["peer"], taken["ours"]
    )


def _from_server(run: Run, corpus: Corpus, server: S3Server) -> Row:
    urls = run.folder / "urls.txt"
    urls.write_text("".join(f"{server.fast}/{corpus.name}/{key}\n" for key in corpus.keys))
    builds = iter(range(1000))

    def write() -> Turn:
        folder = _empty(run.folder / "img2dataset")
        return run_process([*WRITE, "img2dataset", urls, str(corpus.count), folder])

    def build() -> Turn:
        document = run.folder / "img2dataset.json"
        made = Build(endpoint=server.fast, source=f"s3://{corpus.name}/", run_id=f"beside img2dataset {next(builds)}")
        document.write_text(made.model_dump_json())
        return run_process([sys.executable, "-m", "benchmarks.datasets.our_build", "whole", document])

    taken = alternate({"peer": write, "ours": build}, run.size(3, 1))
    measure = f"{corpus.count} photographs from a server, to disk / to a version in S3, whole processes"
    title = f"img2dataset, {_alone(run.folder / 'img2dataset')},"
    return _row(measure, title, taken["peer"], taken["ours"])


def _row(measure: str, title: str, peer: list[Turn], ours: list[Turn]) -> Row:
    return at_least(measure, f"{title} {seconds(peer)}", seconds(ours), fastest(peer) / fastest(ours), None)


def _alone(folder: Path) -> str:
    return f"{Path(f'{folder}.seconds').read_text()} s without its imports"


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
