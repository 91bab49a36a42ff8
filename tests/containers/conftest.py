from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.containers.job_folder import (
    TRAIN_IMAGES,
    VALIDATION_IMAGES,
    Finished,
    JobFolder,
    JobMaker,
    corner_job,
    several_corners,
    write_records,
)


@dataclass(frozen=True)
class Trained:
    job: JobFolder
    finished: Finished


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    return corner_job(tmp_path)


@pytest.fixture
def make_job(tmp_path: Path) -> JobMaker:
    return lambda name="job", **hyperparameters: corner_job(tmp_path / name, **hyperparameters)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A single-label model and the log of its training."""
    job = corner_job(tmp_path_factory.mktemp("single-label"), epochs=4, top_k=2, _tuning_objective_metric="a:b")
    return Trained(job, job.train())


@pytest.fixture(scope="session")
def trained_multi_label(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    job = JobFolder(tmp_path_factory.mktemp("multi-label"))
    write_records(job.channel("train") / "train.rec", several_corners(TRAIN_IMAGES))
    write_records(job.channel("validation") / "v.rec", several_corners(VALIDATION_IMAGES, first=TRAIN_IMAGES))
    job.declare().set(multi_label=1, use_weighted_loss=1, optimizer="adam", learning_rate=0.005, epochs=4)
    return Trained(job, job.train())
