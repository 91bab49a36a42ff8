"""A web server on loopback that serves one document, with the faults that web servers have."""

from __future__ import annotations

import hashlib
import re
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from include.datasets.unpacking.addresses import SourcePolicy

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
READS_LOOPBACK = SourcePolicy(networks=LOOPBACK)
"""What an installation allows that reads from the servers of these tests."""


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
    query: str = ""
    """Without it everybody is refused."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every answer, whatever they say."""

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
            self.send_response(self.told.statuses.pop(0))
            self.send_more()
            self.end_headers()
        elif self.told.query not in self.path.partition("?")[2]:
            self.send_error(403)
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
        if start and "Content-Range" not in told.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if told.etag and "ETag" not in told.headers:
            self.send_header("ETag", told.tag)
        self.send_more()
        if told.length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if with_body:
            end = start + told.breaks.pop(0) if told.breaks else len(body)
            self.wfile.write(body[start:end])

    def send_more(self) -> None:
        for name, value in self.told.headers.items():
            self._headers_buffer.append(f"{name}: {value}\r\n".encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(body: bytes = b"", *, certificate: Path | None = None) -> Iterator[WebServer]:
    told = WebServer(body=body)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"told": told}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def dripping(answer: bytes) -> Iterator[str]:
    """A server that sends the same bytes to everybody, and waits then until it is left."""

    class Drip(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)
            self.request.recv(65536)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def self_signed(folder: Path, host: str) -> Path:
    """A certificate for a host that nobody but itself vouches for, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{host}.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
