from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from demo.endpoint_client import EndpointClient

IMAGES = [b"one", b"two"]


class Endpoint:
    """An endpoint that answers as its model does, and reports how many requests it had."""

    def __init__(self) -> None:
        self.model = 0.9
        self.fails = False
        self.asked = threading.Semaphore(0)

    def invoke_endpoint(self, *, Body: bytes, **_: Any) -> dict[str, Any]:
        self.asked.release()
        if self.fails:
            raise ClientError({"Error": {"Code": "ModelError", "Message": "503"}}, "InvokeEndpoint")
        of_image = self.model - len(Body) * 0.01 - IMAGES.index(Body) * 0.1
        return {"Body": io.BytesIO(json.dumps([of_image, 1 - of_image]).encode())}

    def has_answered(self, requests: int) -> None:
        """Wait until so many more requests have come; the one before the last is then counted too."""
        for _ in range(requests + 1):
            assert self.asked.acquire(timeout=30)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    return Endpoint()


@pytest.fixture
def client(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> EndpointClient:
    monkeypatch.setattr("demo.endpoint_client.PAUSE_SECONDS", 0.001)
    runtime: Any = SimpleNamespace(invoke_endpoint=endpoint.invoke_endpoint)
    return EndpointClient(runtime, "digits", IMAGES)


def test_which_model_answered_is_known_by_the_probabilities(endpoint: Endpoint, client: EndpointClient) -> None:
    with client:
        client.learn("before")
        endpoint.has_answered(20)
        endpoint.model = 0.8
        client.learn("after")
        endpoint.has_answered(20)
    asked = client.asked()

    assert asked.failed == 0
    assert set(asked.answered_by) == {"before", "after"}
    assert min(asked.answered_by.values()) > 5
    assert sum(asked.answered_by.values()) == asked.requests


def test_a_model_that_nobody_knows_is_shown(endpoint: Endpoint, client: EndpointClient) -> None:
    client.learn("before")
    endpoint.model = 0.5
    with client:
        endpoint.has_answered(5)
    assert client.asked().answered_by["another model"] > 0
    assert client.asked().answered_by["before"] == 0


def test_failed_requests_are_counted_and_the_client_asks_on(endpoint: Endpoint, client: EndpointClient) -> None:
    client.learn("before")
    with client:
        endpoint.has_answered(3)
        endpoint.fails = True
        endpoint.has_answered(10)
        endpoint.fails = False
        endpoint.has_answered(3)
    asked = client.asked()

    assert asked.failed >= 5
    assert asked.requests == asked.failed + asked.answered_by["before"]
    assert "ModelError" in asked.errors[0]
    assert len(asked.errors) == 5
