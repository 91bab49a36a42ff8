from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from demo import airflow_client
from demo.airflow_client import AirflowClient, AirflowError


class LockedAirflow(ThreadingHTTPServer):
    """Answers 500 so often as `failures` says, as Airflow does while its database is locked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures = 0
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: LockedAirflow

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body, status = b'{"access_token": "t", "dag_run_id": "r"}', 200
        if self.path != "/auth/token":
            self.server.asked.append(self.command)
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
        server.shutdown()
        thread.join()


def test_a_locked_database_is_waited_for(airflow: LockedAirflow) -> None:
    airflow.failures = 2
    with AirflowClient(airflow.url, "user", "word") as client:
        client.unpause("chain")
    assert airflow.asked == ["PATCH"] * 3


def test_a_database_that_stays_locked_is_an_error(airflow: LockedAirflow) -> None:
    airflow.failures = 10
    with AirflowClient(airflow.url, "user", "word") as client, pytest.raises(AirflowError, match="500"):
        client.unpause("chain")
    assert len(airflow.asked) == 3


def test_a_run_is_never_asked_for_twice(airflow: LockedAirflow) -> None:
    airflow.failures = 1
    with AirflowClient(airflow.url, "user", "word") as client, pytest.raises(AirflowError, match="500"):
        client.trigger("chain", {})
    assert airflow.asked == ["POST"]
