"""A container that keeps the contract of SageMaker's training containers and does what its hyperparameters say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BASE = Path(os.environ["SAGEMAKER_BASE_DIR"])


def main() -> None:
    assert sys.argv[1] == "train"
    wanted = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    print("pid", os.getpid(), flush=True)
    if "grandchild" in wanted:
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        print("grandchild", child.pid, flush=True)
    if "ignore_sigterm" in wanted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "save_on_sigterm" in wanted:
        signal.signal(signal.SIGTERM, save_and_end)
    for path in sorted((BASE / "input/data").rglob("*")):
        if path.is_file():
            print("file", path.relative_to(BASE / "input/data"), path.read_bytes()[:40], flush=True)
    for path in sorted((BASE / "checkpoints").glob("*")):
        print("checkpoint", path.name, path.read_text(), flush=True)
    print("environment", json.dumps(dict(os.environ)), flush=True)
    print("config", (BASE / "input/config/inputdataconfig.json").read_text(), flush=True)
    print("resources", (BASE / "input/config/resourceconfig.json").read_text(), flush=True)
    for epoch in range(int(wanted.get("epochs", "1"))):
        print(f"Epoch[{epoch}] Train-accuracy={0.5 + 0.1 * epoch:.1f}", flush=True)
        print(f"Epoch[{epoch}] Validation-accuracy={0.4 + 0.1 * epoch:.1f}", flush=True)
        if "checkpoint" in wanted:
            (BASE / "checkpoints" / f"epoch-{epoch}").write_text(wanted["checkpoint"])
        time.sleep(float(wanted.get("seconds", "0")))
    if "failure" in wanted:
        (BASE / "output/failure").write_text(wanted["failure"])
    if "output" in wanted:
        (BASE / "output/data/report.txt").write_text(wanted["output"])
    if "exit" in wanted:
        sys.exit(int(wanted["exit"]))
    (BASE / "model/weights.params").write_bytes(b"weights")


def save_and_end(*_: object) -> None:
    (BASE / "model/weights.params").write_bytes(b"saved on SIGTERM")
    sys.exit(0)


main()
