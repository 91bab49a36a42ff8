from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from demo import airflow_client
from demo.airflow_client import AirflowClient, AirflowError


class LockedAirflow(ThreadingHTTPServer):
    """Answers 500 as often as `failures` says, and not at all as often as `silences` says.

    Airflow does both while its database is locked.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures = 0
        self.silences = 0
        self.is_over = Event()
        self.status = 200
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: LockedAirflow

    def answer(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body, status = b'{"access_token": "t"}', 201
        if self.path != "/auth/token":
            self.server.asked.append(self.command)
            self.server.bodies.append(json.loads(asked or b"{}"))
            if self.server.silences:
                self.server.silences -= 1
                self.server.is_over.wait()
                return
            status = self.server.status
            if self.server.failures:
                self.server.failures -= 1
                status = 500
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[LockedAirflow]:
    monkeypatch.setattr(airflow_client, "PAUSES", (0.0, 0.0))
    with LockedAirflow() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.is_over.set()
        server.shutdown()
        thread.join()


def test_a_locked_database_is_waited_for(airflow: LockedAirflow) -> None:
    airflow.failures = 2
    with AirflowClient(airflow.url, "user", "word") as client:
        client.unpause("chain")
    assert airflow.asked == ["PATCH"] * 3


@pytest.mark.parametrize("silences", [1, 2])
def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    airflow: LockedAirflow, monkeypatch: pytest.MonkeyPatch, silences: int
) -> None:
    monkeypatch.setattr(airflow_client, "ANSWER_SECONDS", 0.2)
    airflow.silences = silences
    with AirflowClient(airflow.url, "user", "word") as client:
        client.unpause("chain")
    assert airflow.asked == ["PATCH"] * (silences + 1)


def test_an_airflow_that_never_answers_is_an_error(airflow: LockedAirflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_client, "ANSWER_SECONDS", 0.2)
    airflow.silences = 10
    with AirflowClient(airflow.url, "user", "word") as client, pytest.raises(AirflowError, match="does not answer"):
        client.unpause("chain")
    assert len(airflow.asked) == 3


def test_a_database_that_stays_locked_is_an_error(airflow: LockedAirflow) -> None:
    airflow.failures = 10
    with AirflowClient(airflow.url, "user", "word") as client, pytest.raises(AirflowError, match="500"):
        client.unpause("chain")
    assert len(airflow.asked) == 3


@pytest.mark.parametrize("status", [200, 409], ids=["not started before", "started by the first request"])
def test_a_run_is_asked_for_again_under_the_same_id(airflow: LockedAirflow, status: int) -> None:
    airflow.failures, airflow.status = 1, status
    with AirflowClient(airflow.url, "user", "word") as client:
        run_id = client.trigger("chain", {"dataset.name": "birds"})
    assert airflow.asked == ["POST", "POST"]
    assert [body["dag_run_id"] for body in airflow.bodies] == [run_id, run_id]


def test_a_run_that_airflow_refuses_is_an_error(airflow: LockedAirflow) -> None:
    airflow.status = 422
    with AirflowClient(airflow.url, "user", "word") as client, pytest.raises(AirflowError, match="422"):
        client.trigger("chain", {})
    assert airflow.asked == ["POST"]
