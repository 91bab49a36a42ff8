"""Checkpoints: an interrupted job, as on spot machines, continues where it was.

The folder is kept in step with S3 while the job runs, file by file. `progress.json` is written last and names the two
files it belongs to; those of the progress before it stay until the next one, so that S3 holds a whole checkpoint at any
time.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config import Config
from .images import Classes
from .job_folders import JobError
from .model_files import write_json, write_whole

PROGRESS_FILE = "progress.json"
WEIGHTS_SUFFIX = ".weights.h5"
HELD = ("network", "image_size", "batch_size", "optimizer", "freeze_epochs", "seed")
"""What must be the same when a job continues."""


@dataclass(frozen=True)
class Progress:
    """How far training is: finished epochs, then the steps of the next one and what they reached, and the best epoch.

    `history` has a row for each finished epoch. `epochs_without` counts those since the best one.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    best_accuracy: float | None = None
    epochs_without: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Checkpoints:
    """The checkpoint folder of a job."""

    def __init__(self, folder: Path, config: Config, classes: Classes) -> None:
        self.folder = folder
        self._held = {name: getattr(config, name) for name in HELD} | {"classes": list(classes)}

    def read(self) -> Progress | None:
        """How far the job's earlier life came; None without one. Raises JobError for a checkpoint of another job."""
        document = self._document()
        if document is None:
            return None
        held = document.get("held", {})
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
        try:
            return Progress(**document["progress"])
        except (KeyError, TypeError) as error:
            raise self._unreadable(str(error)) from error

    def load(self, network: Any, best: Any) -> None:
        """Give two networks the weights of the checkpoint: that which learns, with its optimizer, and the best so far.

        Raises JobError.
        """
        document = self._document() or {}
        try:
            network.load_weights(self.folder / document["weights"])
            if document["best"]:
                best.load_weights(self.folder / document["best"])
        except Exception as error:  # h5py and Keras raise whatever they meet
            raise self._unreadable(" ".join(str(error).split())[:300]) from error

    def write(self, progress: Progress, network: Any, best: Any) -> None:
        """Keep weights, then the progress that names them; `best` is written once for each best epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._document() or {}
        names = {"weights": f"epoch-{progress.epoch}-{progress.step}{WEIGHTS_SUFFIX}", "best": None}
        if progress.best_accuracy is not None:
            names["best"] = f"best-{progress.epoch - progress.epochs_without}{WEIGHTS_SUFFIX}"
        write_whole(self.folder / str(names["weights"]), network.save_weights)
        if names["best"] and names["best"] != before.get("best"):
            write_whole(self.folder / names["best"], best.save_weights)
        write_json(self.folder / PROGRESS_FILE, {"held": self._held, "progress": dataclasses.asdict(progress), **names})
        needed = {*names.values(), before.get("weights"), before.get("best")}
        for file in self.folder.glob(f"*{WEIGHTS_SUFFIX}"):
            if file.name not in needed:
                file.unlink()

    def copy_to(self, folder: Path) -> None:
        """Copy the newest checkpoint to a folder, unless it is this one."""
        document = self._document()
        if document is None or folder == self.folder:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name in (document["weights"], document["best"], PROGRESS_FILE):
            if name:
                shutil.copyfile(self.folder / name, folder / name)

    def _document(self) -> dict[str, Any] | None:
        path = self.folder / PROGRESS_FILE
        if not path.is_file():
            return None
        try:
            return dict(json.loads(path.read_text()))
        except ValueError as error:
            raise self._unreadable(str(error)) from error

    def _unreadable(self, reason: str) -> JobError:
        return JobError(f"The checkpoint in {self.folder} cannot be read: {reason}. Remove it to train from the start.")
