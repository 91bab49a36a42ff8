"""Checkpoints from which an interrupted job continues where it was, as on spot instances."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .hyperparameters import Hyperparameters
from .incremental import shown
from .model_files import PREFIX, Weights, load_weights, params_file, save_weights, saved_epochs
from .problems import CustomerError

STATE_FILE = f"{PREFIX}-checkpoint.json"
HELD = ("num_layers", "image_shape", "num_classes", "multi_label", "optimizer")
"""What must be the same when training continues."""


@dataclass(frozen=True)
class Progress:
    """How far training has come. Epochs are 1-based; `kept` are those in the model folder."""

    epoch: int
    best_accuracy: float | None
    early_stopping_best: float | None
    epochs_without: int
    kept: tuple[int, ...]


class CheckpointFolder:
    """One checkpoint: weights, optimizer state, the model folder's weights, and the state file, written last."""

    def __init__(self, folder: Path, hyperparameters: Hyperparameters) -> None:
        self._folder = folder
        self._held = {name: shown(getattr(hyperparameters, name)) for name in HELD}

    @property
    def kept_models(self) -> Path:
        """Copies of what the model folder held."""
        return self._folder / "model"

    def optimizer_state(self, epoch: int) -> Path:
        """The optimizer's running averages after `epoch`."""
        return self._folder / f"{PREFIX}-{epoch:04d}.states"

    def read(self) -> Progress | None:
        """The progress of an earlier run, None if there is none; raises CustomerError for one that differs."""
        path = self._folder / STATE_FILE
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = json.loads(path.read_text())
            held, progress = state.pop("held"), Progress(**{**state, "kept": tuple(state["kept"])})
        except (ValueError, KeyError, TypeError) as broken:
            raise CustomerError([f"the checkpoint's {STATE_FILE} cannot be read: {broken!r}"]) from broken
        problems = [
            f"hyperparameter {name}={mine} differs from the checkpoint, which was made with {name}={held.get(name)}: "
            "give the job a checkpoint location of its own"
            for name, mine in self._held.items()
            if held.get(name) != mine
        ]
        if problems:
            raise CustomerError(problems)
        return progress

    def weights(self, progress: Progress) -> Weights:
        """The weights after the progress's epoch."""
        return load_weights(params_file(self._folder, progress.epoch))

    def restore_models(self, progress: Progress, model_folder: Path) -> None:
        """Put back what the model folder held."""
        for epoch in progress.kept:
            shutil.copy2(params_file(self.kept_models, epoch), params_file(model_folder, epoch))

    def write_weights(self, epoch: int, weights: Weights, model_folder: Path) -> None:
        """Write what `commit` will point to; the checkpoint before stays whole."""
        save_weights(params_file(self._folder, epoch), weights)
        self.kept_models.mkdir(exist_ok=True)
        for kept, path in saved_epochs(model_folder).items():
            if kept == epoch or not params_file(self.kept_models, kept).exists():
                unfinished = self.kept_models / f".{path.name}.part"
                shutil.copy2(path, unfinished)
                unfinished.replace(self.kept_models / path.name)

    def commit(self, progress: Progress) -> None:
        """Make the written files the checkpoint, then remove those of the one before."""
        unfinished = self._folder / f".{STATE_FILE}.part"
        unfinished.write_text(json.dumps({**asdict(progress), "held": self._held}))
        unfinished.replace(self._folder / STATE_FILE)
        for epoch, path in saved_epochs(self._folder).items():
            if epoch != progress.epoch:
                path.unlink()
                self.optimizer_state(epoch).unlink(missing_ok=True)
        for epoch, path in saved_epochs(self.kept_models).items():
            if epoch not in progress.kept:
                path.unlink()
