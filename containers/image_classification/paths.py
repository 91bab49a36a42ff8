"""Where the container finds its inputs and leaves its outputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

BASE_DIR_VARIABLE = "SAGEMAKER_BASE_DIR"
DEFAULT_BASE_DIR = "/opt/ml"


@dataclass(frozen=True)
class ContainerPaths:
    """The folders of SageMaker's container contract below one root.

    Source: developer guide, "How Amazon SageMaker provides training information".
    """

    base: Path

    @classmethod
    def from_environment(cls) -> ContainerPaths:
        """The root named by SAGEMAKER_BASE_DIR, `/opt/ml` if there is none."""
        return cls(Path(os.environ.get(BASE_DIR_VARIABLE) or DEFAULT_BASE_DIR))

    @property
    def config(self) -> Path:
        """hyperparameters.json, inputdataconfig.json and resourceconfig.json."""
        return self.base / "input" / "config"

    def channel(self, name: str) -> Path:
        """The files of one input channel."""
        return self.base / "input" / "data" / name

    @property
    def model(self) -> Path:
        """What becomes model.tar.gz, and what `serve` loads."""
        return self.base / "model"

    @property
    def checkpoints(self) -> Path:
        """Synchronised with S3 in both directions; present only when the job asks for checkpoints."""
        return self.base / "checkpoints"

    @property
    def failure(self) -> Path:
        """Why the job failed."""
        return self.base / "output" / "failure"
