"""`serve`: the HTTP server of a hosted model.

GET /ping, POST /invocations, GET /execution-parameters, as SageMaker's container contract says.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from .invocations import MEBIBYTE, Answer, execution_parameters, invoke, max_payload_mb, refusal
from .logs import algorithm_log, start_logging
from .model_files import UnusableModelError
from .paths import ContainerPaths
from .predictor import Predictor

PORT_VARIABLE = "SAGEMAKER_BIND_TO_PORT"
HOST_VARIABLE = "SAGEMAKER_BIND_TO_HOST"
DEFAULT_PORT = 8080
DEFAULT_HOST = "0.0.0.0"  # noqa: S104 - a container is reached from outside
IDLE_SECONDS = 65
FINISH_SECONDS = 20
DRAIN_LIMIT = 16 * MEBIBYTE
LINGER_SECONDS = 5.0
LOOPBACK_HOST = re.compile(r"(127(\.[0-9]{1,3}){3}|localhost|\[?::1\]?)(:[0-9]{1,5})?")
PLAUSIBLE_LENGTH = re.compile(r"[0-9]{1,18}")


class RequestHandler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1
    predictor: ClassVar[Predictor]
    server: ModelServer

    def do_GET(self) -> None:
        """Health and batch transform's question."""
        if self._is_of_a_page():
            self._send(self._no_pages())
        elif self.path == "/ping":
            self._send(Answer(HTTPStatus.OK))
        elif self.path == "/execution-parameters":
            self._send(execution_parameters())
        else:
            self._send(self._wrong_path())

    def do_POST(self) -> None:
        """One image to classify."""
        if self._is_of_a_page():
            self._send(self._no_pages())
            return
        body = self._read_body()
        if isinstance(body, Answer):
            self._send(body)
        elif self.path != "/invocations":
            self._send(self._wrong_path())
        else:
            with self.server.answering():
                self._send(self._invoke(body))

    def _is_of_a_page(self) -> bool:
        """Tell whether a web page asks: a browser lets every page send requests to a port of its machine.

        A page may give a name of its own the address of this machine, so a server on a loopback port answers to
        loopback names alone.
        """
        is_local = LOOPBACK_HOST.fullmatch(str(self.server.server_address[0])) is not None
        is_foreign = is_local and LOOPBACK_HOST.fullmatch(self.headers.get("Host", "localhost")) is None
        return is_foreign or "Origin" in self.headers or self.headers.get("Sec-Fetch-Site", "none") != "none"

    def _no_pages(self) -> Answer:
        self.close_connection = True
        return refusal(HTTPStatus.FORBIDDEN, "web pages are not answered")

    def _invoke(self, body: bytes) -> Answer:
        try:
            return invoke(self.predictor, self.headers.get("Content-Type"), self.headers.get("Accept"), body)
        except Exception:  # noqa: BLE001 - one request must not end the others
            algorithm_log().exception("The model could not answer")
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the model could not answer: its log has the reason")

    def _read_body(self) -> bytes | Answer:
        declared = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not PLAUSIBLE_LENGTH.fullmatch(declared):
            self.close_connection = True
            return refusal(HTTPStatus.LENGTH_REQUIRED, "a request needs a Content-Length")
        length, limit = int(declared), max_payload_mb() * MEBIBYTE
        if length > limit:
            self.close_connection = True
            reason = f"the body has {length} bytes, at most {limit} are read"
            return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
        return body

    def _wrong_path(self) -> Answer:
        return refusal(HTTPStatus.NOT_FOUND, f"there is no {self.command} {self.path[:200]}")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            algorithm_log().warning("%s %s: %d %s", self.command, self.path[:200], answer.status, answer.body.decode())

    def finish(self) -> None:
        """Let the client close first: one that still sends would see a reset connection instead of the answer."""
        super().finish()
        deadline, left = time.monotonic() + LINGER_SECONDS, DRAIN_LIMIT
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := deadline - time.monotonic()) > 0:
                self.connection.settimeout(seconds)
                chunk = self.connection.recv(MEBIBYTE)
                left = left - len(chunk) if chunk else 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Leave out the line per request: refusals are logged with their reason."""


class ModelServer(ThreadingHTTPServer):
    """Answers each connection in a thread of its own."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[RequestHandler]) -> None:
        super().__init__(address, handler)
        self._answering = 0
        self._changed = threading.Condition()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request that is being answered."""
        with self._changed:
            self._answering += 1
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    def finish_answers(self) -> None:
        """Wait for the requests being answered, FINISH_SECONDS at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._answering == 0, timeout=FINISH_SECONDS)


def serve() -> int:
    """Load the model below SAGEMAKER_BASE_DIR, answer until SIGTERM, and return the exit code."""
    log = start_logging()
    folder = ContainerPaths.from_environment().model
    try:
        predictor = Predictor(folder)
    except UnusableModelError as unusable:
        log.error("Customer Error: the model in %s cannot be served: %s", folder, unusable)
        return 1
    handler = type("ModelRequestHandler", (RequestHandler,), {"predictor": predictor})
    address = (os.environ.get(HOST_VARIABLE) or DEFAULT_HOST, int(os.environ.get(PORT_VARIABLE) or DEFAULT_PORT))
    try:
        server = ModelServer(address, handler)
    except OSError as taken:
        log.error("Cannot listen on %s:%d: %s", *address, taken.strerror)
        return 1
    with server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGINT, lambda *_: threading.Thread(target=server.shutdown).start())
        log.info("Serving %s on %s:%d", folder, *server.server_address[:2])
        server.serve_forever(poll_interval=0.1)
        server.finish_answers()
    return 0
