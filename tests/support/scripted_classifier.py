"""A stand-in for the algorithm's container that learns nothing, at once: `scripted_classifier.py train|serve`.

`train` reaches an accuracy that follows from the hyperparameters: the learning rate 0.01 is the best, more epochs are
better, a model to go on from is worth as much as training anew; 44 layers fail. `serve` answers every image alike.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def train() -> int:
    wanted = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    if wanted["num_layers"] == "44":
        (BASE / "output/failure").write_text("Customer Error: 44 layers are too many")
        return 1
    start = 0.5 if (BASE / "input/data/model").is_dir() else 0.0
    reach = 1 - abs(math.log10(float(wanted.get("learning_rate", "0.1"))) + 2) / 4
    epochs = int(wanted["epochs"])
    for epoch in range(epochs):
        accuracy = start + (0.99 - start) * reach * (epoch + 1) / (epochs + 1)
        sys.stdout.write(f"[11/20/2026 10:00:00 INFO 1] Epoch[{epoch}] Train-accuracy={accuracy:.6f}\n")
        sys.stdout.write(f"[11/20/2026 10:00:00 INFO 1] Epoch[{epoch}] Time cost=0.001\n")
        sys.stdout.write(f"[11/20/2026 10:00:00 INFO 1] Epoch[{epoch}] Validation-accuracy={accuracy:.6f}\n")
    (BASE / "model/classes.json").write_text(wanted["num_classes"])
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        from equal_odds import serve  # it lies beside this script, whose folder is not a package here

        serve()
    sys.exit(train())
