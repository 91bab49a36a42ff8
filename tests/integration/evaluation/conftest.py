from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from include.evaluation.job_traces import Trained, traces_of
from include.sagemaker.epochs import kept_weights, parse_epochs

ROOT = Path(__file__).resolve().parents[3]
TRAININGS = ROOT / "tests" / "support" / "ailing_trainings.py"

TrainedAs = Callable[[str], Trained]


@pytest.fixture(scope="session")
def trained_as(tmp_path_factory: pytest.TempPathFactory) -> TrainedAs:
    """What the training of a name left, of the small trainings that all run in one process of PyTorch's."""
    folder = tmp_path_factory.mktemp("trainings")
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'algorithms' / 'pytorch'}", "OMP_NUM_THREADS": "1"}
    command = [ROOT / ".venv-pytorch" / "bin" / "python", TRAININGS, folder]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

    def trained(name: str) -> Trained:
        files = {file.name: file.read_bytes() for file in (folder / name / "output" / "data").glob("*.jsonl")}
        epochs = parse_epochs((folder / f"{name}.log").read_text().splitlines())
        kept = kept_weights(epochs, {})
        counts = json.loads((folder / f"{name}.json").read_text())
        return Trained(epochs, kept.epoch if kept else None, traces_of(files), training_images=counts)

    return trained
