"""Requests to the local AWS as they go over the wire, well formed or not."""

from __future__ import annotations

import json
import socket
from typing import Any

SCOPE = "AWS4-HMAC-SHA256 Credential=wire/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


def raw(method: str, path: str, service: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as it goes over the wire; `_` in the name of a header stands for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: {SCOPE.format(service)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
        lines += [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1", errors="replace") + body


def call(action: str, body: bytes, **headers: str) -> bytes:
    """A call of SageMaker's control plane."""
    named = {"X_Amz_Target": f"SageMaker.{action}", "Content_Type": "application/json", **headers}
    return raw("POST", "/", "sagemaker", body, **named)


def control(path: str, body: bytes) -> bytes:
    """A call of the server's own paths."""
    return raw("POST", f"/_local_aws/{path}", "", body, Content_Type="application/json")


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes and no more, and return everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(request)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(1 << 16), b""))


def status_and_body(answer: bytes) -> tuple[int, str]:
    """The HTTP status and the text of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body.decode()


def dumped(document: Any) -> bytes:
    """A JSON document as bytes, NaN and lone surrogates included."""
    return json.dumps(document).encode()
