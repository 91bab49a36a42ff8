"""Checkpoints: an interrupted job, as on spot machines, continues where it was.

The folder is synchronised with S3 in both directions while the job runs. `checkpoint.pt` holds weights, the optimizer's
state and the progress; `best/` the best model so far. Both hold tensors and plain values only.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hyperparameters import Hyperparameters
from job_folders import JobError
from model_files import DESCRIPTION_FILE, WEIGHTS_FILE, on_cpu, write_whole

CHECKPOINT_FILE = "checkpoint.pt"
BEST_FOLDER = "best"
HELD = ("network", "multi_label", "optimizer", "batch_size", "image_size", "seed")
"""What must be the same when a job continues."""


@dataclass
class Progress:
    """How far training is: finished epochs, finished steps of the next one and what they reached, and the best so far.

    `best_accuracy` is that of the model that is kept; the other two belong to early stopping.
    """

    epoch: int = 0
    step: int = 0
    figures: tuple[float, float, float] = (0.0, 0.0, 0.0)
    best_accuracy: float | None = None
    epochs_without: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """What a job continues with."""

    progress: Progress
    weights: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]


class CheckpointFolder:
    """The job's checkpoint folder; does nothing for a job without one."""

    def __init__(self, folder: Path | None, chosen: Hyperparameters, classes: tuple[str, ...]) -> None:
        self._folder = folder
        self._held = {name: getattr(chosen, name) for name in HELD} | {"classes": list(classes)}

    def read(self) -> Checkpoint | None:
        """The checkpoint of the job's earlier life; None without one. Raises JobError for one of another job."""
        path = None if self._folder is None else self._folder / CHECKPOINT_FILE
        if path is None or not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            held, progress = state.pop("held"), Progress(**state.pop("progress"))
            checkpoint = Checkpoint(progress, **state)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise JobError(
                f"The checkpoint {path} cannot be read: {reason} Remove it to train from the start."
            ) from error
        problems = [
            f"{name}={mine} (the checkpoint has {held.get(name)})"
            for name, mine in self._held.items()
            if held.get(name) != mine
        ]
        if problems:
            raise JobError(
                f"The checkpoint is of another job: {'; '.join(problems)}. Give this job a checkpoint location of its "
                "own."
            )
        return checkpoint

    def write(self, checkpoint: Checkpoint, model: Path) -> None:
        """Keep the best model, then the checkpoint; each file is whole at any time."""
        if self._folder is None:
            return
        best = self._folder / BEST_FOLDER
        best.mkdir(exist_ok=True)
        for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
            if (model / name).is_file():
                shutil.copyfile(model / name, best / f".{name}")
                (best / f".{name}").replace(best / name)
        state = {
            "held": self._held,
            "progress": asdict(checkpoint.progress),
            "weights": on_cpu(checkpoint.weights),
            "optimizer": checkpoint.optimizer,
            "scaler": checkpoint.scaler,
        }
        write_whole(self._folder / CHECKPOINT_FILE, state)

    @property
    def best_model(self) -> Path | None:
        """The folder of the best model so far; None if none was kept."""
        best = None if self._folder is None else self._folder / BEST_FOLDER
        return best if best is not None and (best / DESCRIPTION_FILE).is_file() else None
