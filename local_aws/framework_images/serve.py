"""`serve` of AWS's PyTorch images, in `.venv-pytorch`: the toolkit's handler behind a server of this file.

AWS's images run TorchServe between the two, which needs Java and is not maintained any more. What a script sees is the
toolkit's: model/code on the import path, model/code/requirements.txt installed, one request at a time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any

warnings.filterwarnings("ignore", message="pkg_resources is deprecated")  # one of the toolkits asks for it

from sagemaker_inference import environment, model_server  # noqa: E402
from sagemaker_pytorch_serving_container.handler_service import HandlerService  # noqa: E402

SUBMIT_DIRECTORY = "SAGEMAKER_SUBMIT_DIRECTORY"
CODE_DIRECTORY = "/opt/ml/model/code"


class Context:
    """What the toolkit's handler asks and answers about one request, as TorchServe's context."""

    model_name = "model"

    def __init__(self, headers: dict[str, str]) -> None:
        self.system_properties = {"model_dir": environment.model_dir, "gpu_id": None}
        self.request_processor = [self]
        self.status = int(HTTPStatus.OK)
        self.content_type = "application/json"
        self._headers = headers

    def get_request_properties(self) -> dict[str, str]:
        """The request's headers."""
        return self._headers

    def set_response_content_type(self, _request: int, value: str) -> None:
        """Keep the type of the answer."""
        self.content_type = value

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Keep the status of the answer; HTTP's own phrase goes with it."""
        del phrase, idx
        self.status = code


class Model:
    """The loaded model, which answers one request at a time."""

    def __init__(self) -> None:
        self._service = HandlerService()
        self._service.initialize(Context({}))
        self._free = threading.Lock()

    def answer(self, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        """The status, content type and body of the answer to a request."""
        context = Context(headers)
        with self._free:
            (content,) = self._service.handle([{"body": body}], context)
        if not isinstance(content, bytes | bytearray):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        failed = context.status != HTTPStatus.OK
        return context.status, "text/plain" if failed else context.content_type, bytes(content)


class Handler(BaseHTTPRequestHandler):
    """The two paths of a container that serves."""

    model: Model

    def do_GET(self) -> None:
        """Answer /ping."""
        if self.path == "/ping":
            self._send(HTTPStatus.OK, "application/json", b'{"status": "Healthy"}')
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such path")

    def do_POST(self) -> None:
        """Answer /invocations."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/invocations":
            self._send(*self.model.answer(body, dict(self.headers.items())))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such path")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the log for what the script prints."""

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A server that ends after its last answer."""

    daemon_threads = False


def install_requirements() -> None:
    """Install the model's requirements.txt as the toolkit does; what pip says stands above the reason to end."""
    try:
        model_server._install_requirements()
    except ValueError:
        sys.exit(
            "pip could not install code/requirements.txt of the model: name versions that exist for the Python of the "
            "image, or put the wheels into code/ and name them by their path"
        )


def main() -> None:
    """Install what the script requires, load the model, and serve until SIGTERM."""
    place = os.environ.get(SUBMIT_DIRECTORY, CODE_DIRECTORY)
    if place.rstrip("/") not in (CODE_DIRECTORY, environment.code_dir):
        sys.stdout.write(
            f"{SUBMIT_DIRECTORY}={place} is not read: AWS's PyTorch images take the script from code/ in model.tar.gz\n"
        )
    sys.path.insert(0, environment.code_dir)
    if os.path.exists(model_server.REQUIREMENTS_PATH):  # noqa: PTH110
        install_requirements()
    Handler.model = Model()
    address = (os.environ.get("SAGEMAKER_BIND_TO_HOST", "0.0.0.0"), int(os.environ["SAGEMAKER_BIND_TO_PORT"]))  # noqa: S104
    server = Server(address, Handler)

    def end(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    server.serve_forever(0.05)
    server.server_close()


if __name__ == "__main__":
    main()
