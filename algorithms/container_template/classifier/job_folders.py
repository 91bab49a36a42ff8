"""The folders of SageMaker's container contract, and how a job says that it cannot be done.

Source: developer guide, "How Amazon SageMaker provides training information".
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class JobError(Exception):
    """The job cannot be done: what is wrong, with which value, and what to do about it."""


@dataclass(frozen=True)
class JobFolders:
    """The folders below `base`, which is /opt/ml in a container."""

    base: Path

    @classmethod
    def from_environment(cls) -> JobFolders:
        """Those below SAGEMAKER_BASE_DIR, which the local AWS sets, or below /opt/ml."""
        return cls(Path(os.environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml"))

    @property
    def model(self) -> Path:
        """What becomes model.tar.gz, and what is served."""
        return self.base / "model"

    @property
    def output(self) -> Path:
        """What becomes output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def failure(self) -> Path:
        """The file whose text becomes the job's failure reason."""
        return self.base / "output" / "failure"

    @property
    def checkpoints(self) -> Path:
        """What S3 is kept in step with, if the job has a checkpoint location; otherwise a part of output.tar.gz."""
        synchronised = self.base / "checkpoints"
        return synchronised if synchronised.is_dir() else self.output / "checkpoint"

    def channels(self) -> list[str]:
        """The names of the job's channels."""
        inputs = self.base / "input" / "data"
        return sorted(path.name for path in inputs.iterdir() if path.is_dir()) if inputs.is_dir() else []

    def channel(self, name: str) -> Path:
        """The folder of a channel that the job must have. Raises JobError."""
        if name not in self.channels():
            present = ", ".join(self.channels()) or "none"
            raise JobError(f"Channel '{name}' is missing (the job has: {present}). Add it to the job's input channels.")
        return self.base / "input" / "data" / name

    def read_input(self, name: str) -> dict[str, Any]:
        """A document that the service wrote for the job, such as hyperparameters.json; empty if there is none."""
        path = self.base / "input" / "config" / name
        return dict(json.loads(path.read_text())) if path.is_file() else {}
