"""A source that answers badly at first: each image's first GET fails in one of the ways S3 and networks know."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from include.datasets.shard import pack_shard
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATE = "Sun, 01 Mar 2026 12:30:00 GMT"


class FirstGetFails:
    """Answers the first GET of every image with the fault, and is S3 otherwise."""

    def __init__(self) -> None:
        self.fault = ""
        self.failed: set[str] = set()
        self._s3 = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or "/images/" not in path or path in self.failed:
            return self._s3(environ, start_response)
        self.failed.add(path)
        return self._fail(environ, start_response)

    def _fail(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.fault == "truncated body":
            start_response("200 OK", [("Content-Length", "4000"), ("ETag", '"x"'), ("Last-Modified", DATE)])
            return [b"\xff\xd8\xff and then nothing"]
        if self.fault == "connection reset":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start_response("200 OK", [])
            return [b"into the void"]
        start_response(self.fault, [("Content-Type", "application/xml")])
        return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]


@pytest.fixture
def faulty() -> Iterator[tuple[FirstGetFails, S3Client]]:
    application = FirstGetFails()
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    yield application, client
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("fault", ["500 Internal Server Error", "503 Slow Down", "truncated body", "connection reset"])
def test_a_fault_costs_time_but_no_image(faulty: tuple[FirstGetFails, S3Client], bucket: Bucket, fault: str) -> None:
    server, client = faulty
    bucket.put_images({"cat": 4, "dog": 4})
    bucket.put("images/dog/odd\tkey.jpg", bucket.get("images/dog/000.jpg") + b"a little longer")
    plan = bucket.plan(bucket.conf())
    server.fault = fault

    results = [pack_shard(client, plan, shard) for shard in plan.shards]

    assert len(server.failed) == 9
    assert [result.bad for result in results] == [{}] * len(plan.shards)
    assert sum(result.records for result in results) == 9
