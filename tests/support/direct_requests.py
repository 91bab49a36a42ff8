"""Requests of a boto3 client that reach a WSGI application of the same process as calls, without sockets or threads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from werkzeug.test import run_wsgi_app


def answer_directly(client: Any, application: Any) -> None:
    """Let the application answer what this client sends to its endpoint; clients of the same endpoint are not affected.

    The socket is half of what a request between two parties of one process costs.
    """
    endpoint = client.meta.endpoint_url

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        if not request.url.startswith(endpoint):
            return None
        body, status, headers = run_wsgi_app(application, _environ(request), buffered=True)
        return AWSResponse(request.url, int(status.partition(" ")[0]), headers, _Body(b"".join(body)))

    client.meta.events.register("before-send.*", answer)


class _Body(io.BytesIO):
    """The body of an answer, as botocore reads it from urllib3."""

    def stream(self, amount: int = 65536) -> Iterator[bytes]:
        return iter(lambda: self.read(amount), b"")


def _environ(request: AWSPreparedRequest) -> dict[str, Any]:
    """The request as a WSGI server would hand it on."""
    url, body = urlsplit(request.url), _bytes(request.body)
    address = f"{url.path}?{url.query}" if url.query else url.path
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    for about_transport in ("HTTP_EXPECT", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"):
        headers.pop(about_transport, None)
    kind = headers.pop("HTTP_CONTENT_TYPE", "")
    return {
        **headers,
        "CONTENT_TYPE": kind,
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": url.netloc,
        "PATH_INFO": unquote_to_bytes(url.path).decode("latin-1"),
        "QUERY_STRING": url.query,
        "RAW_URI": address,
        "REQUEST_METHOD": request.method,
        "REQUEST_URI": address,
        "SCRIPT_NAME": "",
        "SERVER_NAME": url.hostname,
        "SERVER_PORT": str(url.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.errors": io.StringIO(),
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.url_scheme": url.scheme,
        "wsgi.version": (1, 0),
    }


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return bytes(body) if isinstance(body, (bytes, bytearray)) else bytes(body.read())
