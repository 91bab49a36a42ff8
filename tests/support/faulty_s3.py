"""An S3 that answers badly: each request that is chosen fails in one of the ways that S3 and networks know."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server

from local_aws.server import QuietRequestHandler

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer = tuple[str, list[tuple[str, str]], bytes]
Fault = Callable[["FaultyS3", dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class FaultyS3:
    """Is S3, but answers the requests that `chosen` matches with `fault`, `times` for each path."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.chosen = re.compile(r"^GET .*/images/")
        self.fault: Fault | None = None
        self.times = 1
        self.ignores_ranges = False
        self.failed: Counter[str] = Counter()
        self.over = threading.Event()
        self._s3 = create_backend_app("s3")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        request = f"{environ['REQUEST_METHOD']} {path}?{environ['QUERY_STRING']}"
        if self.fault and self.chosen.search(request) and self.failed[path] < self.times:
            self.failed[path] += 1
            return self.fault(self, environ, start_response)
        if self.ignores_ranges:
            environ.pop("HTTP_RANGE", None)
        return self._s3(environ, start_response)

    def real_answer(self, environ: dict[str, Any]) -> Answer:
        """What S3 itself would have answered."""
        begun: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._s3(environ, lambda status, headers, *_: begun.append((status, headers))))
        return (*begun[0], body)


def read_body(environ: dict[str, Any]) -> None:
    """Take what the client sends, or it waits for a server that does not listen."""
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def refuses(status: str, code: str) -> Fault:
    def answer(_: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        read_body(environ)
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>Told by the test.</Message></Error>".encode()]

    return answer


def breaks_off(server: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, headers, body = server.real_answer(environ)
    start_response(status, headers)
    return [body[: len(body) // 2]]


def resets(_: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    read_body(environ)
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    start_response("200 OK", [])
    return [b"into the void"]


def stalls(server: FaultyS3, _: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    server.over.wait(20)
    start_response("500 Internal Server Error", [])
    return []


def stalls_midway(server: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, headers, body = server.real_answer(environ)
    start_response(status, headers)

    def drip() -> Iterator[bytes]:
        yield body[: len(body) // 2]
        server.over.wait(20)

    return drip()


def after(change: Callable[[str], object], fault: Fault) -> Fault:
    """Change the object under the requested path, when S3 has read it and before the fault comes."""

    def answer(server: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, headers, body = server.real_answer(environ)
        change(environ["PATH_INFO"].split("/", 2)[2])
        if fault is breaks_off:
            start_response(status, headers)
            return [body[: len(body) // 2]]
        return fault(server, environ, start_response)

    return answer


def fails_in_its_body(_: FaultyS3, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """As CompleteMultipartUpload may: the status is sent before the work is done."""
    read_body(environ)
    start_response("200 OK", [("Content-Type", "application/xml")])
    return [b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"]


@contextmanager
def serve(application: FaultyS3) -> Iterator[FaultyS3]:
    """Serve on a loopback port."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietRequestHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        application.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield application
    finally:
        application.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def client_of(server: FaultyS3, **options: Any) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(**options),
    )
