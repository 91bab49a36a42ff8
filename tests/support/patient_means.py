"""A stand-in for the algorithm's container: `patient_means.py FOLDER train|serve`.

A job of many epochs trains until it is let go, as `gated_algorithm.py` does. Any other learns the mean image of each
class in a moment, as `class_means.py` does. `serve` answers with what was learned.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import class_means  # it lies beside this script, whose folder is not a package here
import equal_odds
import gated_algorithm

MANY_EPOCHS = 100


def main(folder: Path, verb: str) -> int:
    if verb == "serve":
        (class_means if class_means.MODEL.exists() else equal_odds).serve()
    wanted = json.loads((class_means.BASE / "input/config/hyperparameters.json").read_text())
    if int(wanted["epochs"]) < MANY_EPOCHS:
        return class_means.train()
    gated_algorithm.train(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
