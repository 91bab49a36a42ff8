"""An algorithm of few lines with the contract of SageMaker's containers: `main.py train` and `main.py serve`.

Its classes are the folders of the channel `train`, its model is the mean byte of the files of each. It says what it
sees of the machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROOT = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
MODEL = ROOT / "model" / "means.json"


def train() -> None:
    wanted = json.loads((ROOT / "input/config/hyperparameters.json").read_text())
    say(f"process {os.getpid()} on {socket.gethostname()} with {','.join(name for _, name in socket.if_nameindex())}")
    if "wait" in wanted:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(save({"stopped": 0.0})))
        say("waiting")
        time.sleep(float(wanted["wait"]))
    means = {}
    for folder in sorted((ROOT / "input/data/train").iterdir()):
        content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
        means[folder.name] = sum(content) / len(content)
    for channel in ("Train", "Validation"):
        say(f"Epoch[0] {channel}-accuracy={1.0 if len(means) > 1 else 0.0}")
    save(means)


def save(means: dict[str, float]) -> int:
    MODEL.write_text(json.dumps(means))
    return 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Answers(BaseHTTPRequestHandler):
    """`GET /ping`, and `POST /invocations`, answered with the probabilities of the classes in order."""

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        near = [1 / (1 + abs(mean - sum(content) / len(content))) for mean in json.loads(MODEL.read_text()).values()]
        self.answer([each / sum(near) for each in near])

    def answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve() -> None:
    say(f"process {os.getpid()} with {','.join(name for _, name in socket.if_nameindex())}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    host = os.environ.get("SAGEMAKER_BIND_TO_HOST", "0.0.0.0")
    HTTPServer((host, int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))), Answers).serve_forever()


if __name__ == "__main__":
    {"train": train, "serve": serve}[sys.argv[1]]()
