from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import train
from tests.algorithms.job import (
    TRAIN_IMAGES,
    VALIDATION_IMAGES,
    Ended,
    Job,
    arguments,
    one_corner,
    write_records,
)

torch.set_num_threads(1)

Run = Callable[..., Ended]


def corner_job(base: Path) -> Job:
    """A job with record channels of three classes, and their names."""
    job = Job(base)
    write_records(job.channel("train") / "train.rec", one_corner(TRAIN_IMAGES))
    write_records(job.channel("validation") / "validation.rec", one_corner(VALIDATION_IMAGES, first=TRAIN_IMAGES))
    return job.name_classes()


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return corner_job(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a job in this process: importing torch once more takes as long as the training."""

    def run_job(job: Job, **hyperparameters: object) -> Ended:
        capsys.readouterr()
        with job.environment():
            code = train.main(arguments(hyperparameters))
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run_job


@dataclass(frozen=True)
class Trained:
    job: Job
    ended: Ended


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A finished job of a few epochs, run as the toolkit runs it, with its log."""
    job = corner_job(tmp_path_factory.mktemp("trained"))
    process = job.start(epochs=3, statistics_every=4, loader_workers=2)
    log, error = process.communicate(timeout=200)
    return Trained(job, Ended(process.returncode, log, error))
