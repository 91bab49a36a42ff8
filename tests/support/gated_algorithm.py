"""A stand-in for the algorithm's container that trains until it is let go: `gated_algorithm.py FOLDER train|serve`.

`train` prints an epoch's lines again and again until FOLDER holds a file called like the job, then writes a model; a
file `open-after` with a number of seconds lets every job go after so long, one `epoch-seconds` sets the pace.
`serve` answers every image with the same probabilities.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
EPOCH_SECONDS = 0.2
OPEN_AFTER = "open-after"
PACE = "epoch-seconds"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def number_in(file: Path, otherwise: float) -> float:
    return float(file.read_text()) if file.exists() else otherwise


def train(gates: Path) -> None:
    wanted = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    gate, epoch, started = gates / os.environ["TRAINING_JOB_NAME"], 0, time.monotonic()
    limit, pace = number_in(gates / OPEN_AFTER, math.inf), number_in(gates / PACE, EPOCH_SECONDS)
    while epoch == 0 or not (gate.exists() or time.monotonic() - started > limit):
        say(f"[11/20/2026 10:00:00 INFO 1] Epoch[{epoch}] Train-accuracy=0.500000")
        say(f"[11/20/2026 10:00:00 INFO 1] Epoch[{epoch}] Validation-accuracy=0.500000")
        time.sleep(pace)
        epoch += 1
    (BASE / "model/classes.json").write_text(wanted["num_classes"])


if __name__ == "__main__":
    folder, verb = sys.argv[1:]
    if verb == "serve":
        from equal_odds import serve  # it lies beside this script, whose folder is not a package here

        serve()
    train(Path(folder))
