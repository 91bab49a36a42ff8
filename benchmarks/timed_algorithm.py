"""A stand-in for the algorithm's container that only takes time: `timed_algorithm.py FOLDER train`.

It prints an epoch's two lines every EPOCH_SECONDS, and ends after the seconds in FOLDER's file `job-seconds`; without
that file, as soon as FOLDER has a file called like the job.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

EPOCH_SECONDS = 5
JOB_SECONDS = "job-seconds"


def train(folder: Path, base: Path) -> None:
    """Train until it is time, and leave a model."""
    started, gate, limit = time.monotonic(), folder / os.environ["TRAINING_JOB_NAME"], folder / JOB_SECONDS
    seconds = float(limit.read_text()) if limit.exists() else math.inf
    epoch = 0
    while epoch == 0 or not (gate.exists() or time.monotonic() - started > seconds):
        for part in ("Train", "Validation"):
            print(f"[11/20/2026 10:00:00 INFO 1] Epoch[{epoch}] {part}-accuracy=0.500000", flush=True)
        time.sleep(EPOCH_SECONDS)
        epoch += 1
    asked = json.loads((base / "input/config/hyperparameters.json").read_text())
    (base / "model/classes.json").write_text(asked["num_classes"])


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")))
