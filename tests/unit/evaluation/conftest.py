"""A published dataset of grey squares in a real S3 server, and an endpoint that tells them apart by brightness."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import cv2
import numpy as np
import pytest

from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.run_conf import DatasetConf, SplitConf
from tests.support.dataset_bucket import application, endpoint  # noqa: F401  (a fixture)
from tests.support.direct_requests import answer_directly
from tests.support.documents import VARIABLE

LEVELS = {"<b>dark": 40, "grey": 128, "light": 215}
IMAGES_PER_CLASS = 16
Client = Callable[[str], Any]


def square(label: str, number: int) -> bytes:
    """A JPEG of one shade; the noise makes every image another one."""
    noise = np.random.default_rng(number).integers(-20, 20, (28, 28, 3))
    written, encoded = cv2.imencode(".jpg", (LEVELS[label] + noise).astype(np.uint8))
    assert written
    return encoded.tobytes()


def classify(image: bytes) -> list[float]:
    """Probabilities of the three shades, by the image's mean brightness."""
    mean = float(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).mean())
    closeness = np.exp(-np.abs(np.array(sorted(LEVELS.values())) - mean) / 20)
    return [float(value) for value in closeness / closeness.sum()]


@pytest.fixture(scope="session")
def clients(endpoint: str) -> Client:  # noqa: F811
    """Makes clients that call moto directly."""

    def client(service: str) -> Any:
        made = boto3.client(
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        answer_directly(made, application(service))
        return made

    return client


@dataclass(frozen=True)
class World:
    """Clients and the dataset version they can read."""

    client: Client
    s3: Any
    dataset: DatasetVersion

    def read(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


@pytest.fixture(scope="module")
def world(clients: Client) -> World:
    s3 = clients("s3")
    for bucket in (VARIABLE["data_bucket"], VARIABLE["output_bucket"]):
        s3.create_bucket(Bucket=bucket)
    for label in LEVELS:
        for number in range(IMAGES_PER_CLASS):
            key = f"images/{label}/{number:02d}.jpg"
            s3.put_object(Bucket=VARIABLE["data_bucket"], Key=key, Body=square(label, number))
    plan = plan_version(
        s3,
        DatasetConf(name="shades", split=SplitConf(train=0.4, validation=0.2, test=0.4)),
        data_bucket=VARIABLE["data_bucket"],
        run_id="run",
        run_after=datetime(2026, 1, 2, tzinfo=UTC),
    )
    version = publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])
    return World(clients, s3, version)


class BrightnessHandler(BaseHTTPRequestHandler):
    """Answers `/endpoints/NAME/invocations` as the algorithm does."""

    def do_POST(self) -> None:
        image = self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps(classify(image)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def runtime() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BrightnessHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    server.shutdown()
    server.server_close()
