from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from algorithms.container_template.classifier.__main__ import main
from tests.algorithms.container_template.job import TEST, TRAIN, VALIDATION, ContainerJob, Run
from tests.algorithms.job import Ended


@dataclass(frozen=True)
class TrainedJob:
    job: ContainerJob
    ended: Ended


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedJob:
    """A finished job on class folders, run as SageMaker runs it, with its log."""
    job = ContainerJob(tmp_path_factory.mktemp("template")).folders(train=TRAIN, validation=VALIDATION, test=TEST)
    job.ask({"epochs": 4, "learning_rate": 0.004})
    process = job.command("train")
    log, error = process.communicate(timeout=200)
    return TrainedJob(job, Ended(process.returncode, log, error))


@pytest.fixture
def job(tmp_path: Path) -> ContainerJob:
    return ContainerJob(tmp_path).folders(train=TRAIN, validation=VALIDATION)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a job in this process: importing Keras once more takes longer than the training."""

    def run_job(job: ContainerJob, **hyperparameters: object) -> Ended:
        capsys.readouterr()
        job.ask(hyperparameters)
        with job.environment():
            code = main(["train"])
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run_job
