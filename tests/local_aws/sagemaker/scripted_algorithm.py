"""A container of a few lines that keeps SageMaker's contract: `scripted_algorithm.py train|serve`.

Training prints one objective an epoch, which ends at the hyperparameter `quality`. Serving answers with the model's
`answer.txt`, the request's content type and its size, or with the probabilities in `odds.json`; what else it does is
asked for in the body or the model.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def train() -> int:
    hyperparameters = json.loads((BASE / "input/config/hyperparameters.json").read_text())
    if "fail" in (hyperparameters.get("quality"), hyperparameters.get("mode")):
        (BASE / "output").mkdir(exist_ok=True)
        (BASE / "output/failure").write_text("this job was told to fail")
        return 1
    epochs = int(hyperparameters.get("epochs", "1"))
    for epoch in range(epochs):
        value = float(hyperparameters.get("quality", "0.5")) * (epoch + 1) / epochs
        if hyperparameters.get("mode") != "silent":
            say(f"Epoch[{epoch}] Validation-accuracy={value:f}")
        time.sleep(float(hyperparameters.get("epoch_seconds", "0")))
    (BASE / "model").mkdir(exist_ok=True)
    (BASE / "model/answer.txt").write_text(json.dumps(hyperparameters))
    return 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200 if self.path == "/ping" else 404, b"", "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if (BASE / "model/faulty.txt").exists():
            self.answer(500, b"this model is faulty", "text/plain")
        elif (BASE / "model/odds.json").exists():
            self.answer(200, (BASE / "model/odds.json").read_bytes(), "application/json")
        elif body == b"bad image":
            self.answer(400, b"this is no image", "text/plain")
        elif body == b"fault":
            self.answer(500, b"inner fault", "text/plain")
        elif body == b"die":
            os._exit(3)
        elif body == b"slow":
            time.sleep(1)
            self.answer(200, b"slow", "text/plain")
        elif body.startswith(b"wait for "):
            Path(body.removeprefix(b"wait for ").decode()).read_bytes()  # a named pipe: until somebody closes it
            self.answer(200, b"waited", "text/plain")
        elif self.headers.get("Accept") == "application/octet-stream":
            self.answer(200, body, "application/octet-stream")
        else:
            said = {
                "model": (BASE / "model/answer.txt").read_text(),
                "content_type": self.headers.get("Content-Type"),
                "accept": self.headers.get("Accept"),
                "bytes": len(body),
                "pid": os.getpid(),
                "greeting": os.environ.get("GREETING"),
                "payload_mb": os.environ.get("SAGEMAKER_MAX_PAYLOAD_IN_MB"),
            }
            self.answer(200, json.dumps(said).encode(), "application/json")

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *args: object) -> None:  # type: ignore[override]
        say(form % args)


def end(*_: object) -> None:
    os._exit(0)


def end_slowly(*_: object) -> None:
    time.sleep(1)
    os._exit(0)


def serve() -> int:
    if (BASE / "model/broken.txt").exists():
        say("cannot load the model: broken.txt is in it")
        return 1
    host, port = os.environ["SAGEMAKER_BIND_TO_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    signal.signal(signal.SIGTERM, end_slowly if (BASE / "model/slow_to_end.txt").exists() else end)
    ThreadingHTTPServer((host, port), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit({"train": train, "serve": serve}[sys.argv[1]]())
