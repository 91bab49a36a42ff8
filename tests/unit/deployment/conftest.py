from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer

from tests.support.changing_endpoints import replace_tags
from tests.support.dataset_bucket import bucket, endpoint, s3
from tests.unit.evaluation.conftest import Client, runtime, world

# Fixtures: an S3 server and a bucket, shades of grey, and an endpoint that tells them apart.
__all__ = ["bucket", "endpoint", "runtime", "s3", "world"]


@pytest.fixture(scope="module")
def clients() -> Iterator[Client]:
    """Makes clients of a server: `sagemaker` below turns to moto itself in the same process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    yield client
    server.stop()


@pytest.fixture(scope="session")
def client() -> Any:
    """One client for all tests: reading SageMaker's service model takes half a second."""
    return boto3.client(
        "sagemaker", region_name="eu-central-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture
def sagemaker(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    replace_tags(monkeypatch)
    with mock_aws():
        yield client
