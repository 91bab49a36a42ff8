"""The job as SageMaker's training toolkit lays it out: its channels and folders, and how it fails.

Source: github.com/aws/sagemaker-training-toolkit, "Environment variables" (`SM_CHANNEL_*`, `SM_MODEL_DIR`,
`SM_OUTPUT_DATA_DIR`); developer guide, "Use checkpoints" (`/opt/ml/checkpoints` is there only if the job asks for it).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BASE = "/opt/ml"
CHANNEL_PREFIX = "SM_CHANNEL_"


class JobError(Exception):
    """The job cannot run or continue: what is wrong, with which value, and what to do about it."""


@dataclass(frozen=True)
class JobFolders:
    """Where the job's inputs are and where its results go.

    `channels`: folder of each channel by name. `failure`: the file whose text becomes the job's failure reason.
    `checkpoints` is None if the job keeps none.
    """

    channels: Mapping[str, Path]
    model: Path
    output: Path
    failure: Path
    checkpoints: Path | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> JobFolders:
        """The folders that the toolkit's variables name; for unset variables, those below SAGEMAKER_BASE_DIR."""
        base = Path(environment.get("SAGEMAKER_BASE_DIR") or BASE)
        named = {
            name.removeprefix(CHANNEL_PREFIX).lower(): Path(folder)
            for name, folder in environment.items()
            if name.startswith(CHANNEL_PREFIX)
        }
        inputs = base / "input" / "data"
        found = {folder.name: folder for folder in inputs.iterdir() if folder.is_dir()} if inputs.is_dir() else {}
        checkpoints = base / "checkpoints"
        return cls(
            channels=named or found,
            model=Path(environment.get("SM_MODEL_DIR") or base / "model"),
            output=Path(environment.get("SM_OUTPUT_DATA_DIR") or base / "output" / "data"),
            failure=Path(environment.get("SM_OUTPUT_DIR") or base / "output") / "failure",
            checkpoints=checkpoints if checkpoints.is_dir() else None,
        )

    def channel(self, name: str) -> Path:
        """The folder of a channel that the job must have. Raises JobError."""
        folder = self.channels.get(name)
        if folder is None:
            present = ", ".join(sorted(self.channels)) or "none"
            raise JobError(f"Channel '{name}' is missing (the job has: {present}). Add it to the job's input channels.")
        if not folder.is_dir():
            raise JobError(f"Channel '{name}' is not a folder: {folder}. Use input mode File.")
        return folder
