"""A web server on loopback that serves one document, with the faults that web servers have."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class WebServer:
    """`requests` holds method and Range of each request; what is told of a document can be left out."""

    url: str = ""
    body: bytes = b""
    ranges: bool = True
    etag: bool = True
    head: bool = True
    length: bool = True
    breaks: list[int] = field(default_factory=list)
    """After so many bytes of a body the connection ends, once for each number."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests."""
    location: str = ""
    """Where `/moved/...` redirects to."""
    requests: list[str] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.body).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    told: WebServer

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        asked = self.headers.get("Range", "")
        self.told.requests.append(f"{self.command} {asked}".strip())
        if self.told.statuses and with_body:
            self.send_error(self.told.statuses.pop(0))
        elif not self.told.head and not with_body:
            self.send_error(405)
        elif self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.told.location)
            self.end_headers()
        else:
            self.send_document(asked, with_body=with_body)

    def send_document(self, asked: str, *, with_body: bool) -> None:
        told = self.told
        body = told.body
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        condition = self.headers.get("If-Range")
        start = int(found[1]) if found and told.ranges and condition in (None, told.tag) else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if told.etag:
            self.send_header("ETag", told.tag)
        if told.length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if with_body:
            end = start + told.breaks.pop(0) if told.breaks else len(body)
            self.wfile.write(body[start:end])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(body: bytes = b"") -> Iterator[WebServer]:
    told = WebServer(body=body)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"told": told}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
