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
    wanted: dict[str, str] = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    say("pid", os.getpid())
    obey_signals(wanted)
    tell_what_is_there()
    done = len(list((BASE / "checkpoints").glob("epoch-*")))
    for epoch in range(done, int(wanted.get("epochs", "1"))):
        say(f"Epoch[{epoch}] Train-accuracy={0.5 + 0.1 * epoch:.1f}")
        if "silent" not in wanted:
            say(f"Epoch[{epoch}] Validation-accuracy={0.4 + 0.1 * epoch:.1f}")
        if "checkpoint" in wanted:
            (BASE / "checkpoints" / f"epoch-{epoch}").write_text(wanted["checkpoint"])
        time.sleep(float(wanted.get("seconds", "0")))
        if not done and wanted.get("fail_after_epoch") == str(epoch):
            sys.exit("the machine is out of order")
    for name, path in (("failure", "output/failure"), ("output", "output/data/report.txt")):
        if name in wanted:
            (BASE / path).write_text(wanted[name])
    if "exit" in wanted:
        sys.exit(int(wanted["exit"]))
    if "forget_model" not in wanted:
        (BASE / "model/weights.params").write_bytes(b"weights")


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def obey_signals(wanted: dict[str, str]) -> None:
    if "grandchild" in wanted:
        say("grandchild", subprocess.Popen(["sleep", "300"], start_new_session=True).pid)
    if "ignore_sigterm" in wanted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "save_on_sigterm" in wanted:
        signal.signal(signal.SIGTERM, save_and_end)


def tell_what_is_there() -> None:
    for path in sorted((BASE / "input/data").rglob("*")):
        if path.is_file():
            say("file", path.relative_to(BASE / "input/data"), path.read_bytes()[:40])
    for path in sorted((BASE / "checkpoints").glob("*")):
        say("checkpoint", path.name, path.read_text())
    say("environment", json.dumps(dict(os.environ)))
    for name in ("inputdataconfig", "resourceconfig"):
        say(name, (BASE / f"input/config/{name}.json").read_text())


def save_and_end(*_: object) -> None:
    (BASE / "model/weights.params").write_bytes(b"saved on SIGTERM")
    sys.exit(0)


main()
