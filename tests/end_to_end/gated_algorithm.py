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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        classes = int((BASE / "model/classes.json").read_text())
        self.answer(json.dumps([1 / classes] * classes).encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *args: object) -> None:  # type: ignore[override]
        say(form % args)


def serve() -> None:
    host, port = os.environ["SAGEMAKER_BIND_TO_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    ThreadingHTTPServer((host, port), Handler).serve_forever()


if __name__ == "__main__":
    folder, verb = sys.argv[1:]
    serve() if verb == "serve" else train(Path(folder))
