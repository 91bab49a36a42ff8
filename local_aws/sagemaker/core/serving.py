"""Serving processes: a model's containers on this machine, from the artifact in S3 to an answered request."""

from __future__ import annotations

import collections
import contextlib
import http.client
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from local_aws.account import Aws
from local_aws.container_process import ContainerProcess, ContainerStartError
from local_aws.docker_engine import DockerContainer
from local_aws.sagemaker.core.container_start import start_container
from local_aws.sagemaker.core.failures import signal_name, what_to_do
from local_aws.sagemaker.core.model_artifacts import ModelArtifact

PING_TIMEOUT_SECONDS = 2.0
PING_INTERVAL_SECONDS = 0.1
STARTUP_TIMEOUT_SECONDS = 240.0
INVOCATION_TIMEOUT_SECONDS = 60.0
STOP_GRACE_SECONDS = 30.0
# Below the ports that systems give to outgoing connections, so that none of those takes a port between choice and use.
SERVING_PORTS = range(18_000, 32_000)
LAST_LINES = 8

Payload = bytes | BinaryIO
"""The body of a request: bytes, or a file that is sent as it is read."""


class NotHealthyError(Exception):
    """A container that did not start or did not answer /ping; the message is for the FailureReason."""


class ContainerUnreachableError(Exception):
    """A container that took a request and gave no answer."""


@dataclass(frozen=True)
class Answer:
    """A container's answer to POST /invocations."""

    status: int
    body: bytes
    content_type: str
    headers: http.client.HTTPMessage


class ServingContainer:
    """One container of a model, serving on a loopback port with `root` as its /opt/ml.

    `environment` is added to the container definition's own; one that is not `networked` is given no AWS. `on_line`
    gets every line the process prints.
    """

    def __init__(
        self,
        aws: Aws,
        container: Mapping[str, Any],
        *,
        root: Path,
        on_line: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
        networked: bool = True,
    ) -> None:
        self._aws = aws
        self._container = container
        self._root = root
        self._environment = environment or {}
        self._networked = networked
        self._on_line = on_line
        self._lines: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._process: ContainerProcess | None = None
        self._port = 0

    @property
    def last_lines(self) -> str:
        """The last lines the process printed, on one line."""
        return " | ".join(self._lines)

    @property
    def is_running(self) -> bool:
        """Whether the process is up."""
        return self._process is not None and self._process.returncode is None

    def pids(self) -> list[int]:
        """The process to be measured, while it is up."""
        return self._process.pids() if self._process is not None and self.is_running else []

    def install(self) -> None:
        """Bring the model into the container's root; raises ModelArtifactError."""
        shutil.rmtree(self._root, ignore_errors=True)
        for folder in ("model", "tmp"):
            (self._root / folder).mkdir(parents=True)
        artifact = ModelArtifact.of(self._container)
        if artifact is not None:
            artifact.install(self._aws, self._root / "model")

    def start(self) -> None:
        """Start the process; raises NotHealthyError when there is nothing to run."""
        self._port = _free_port()
        try:
            self._process = start_container(
                self._aws,
                self._container["Image"],
                "serve",
                base=self._root,
                given={**(self._container.get("Environment") or {}), **self._environment},
                networked=self._networked,
                on_line=self._take_line,
                port=self._port,
            )
        except ContainerStartError as error:
            raise NotHealthyError(f"{error}. {what_to_do(error)}") from error

    def wait_until_healthy(self, timeout: float, cancelled: threading.Event) -> None:
        """Wait for a 200 of GET /ping; raises NotHealthyError when the process ends, or the time does, before."""
        deadline = time.monotonic() + timeout
        while not self._answers_ping():
            if not self.is_running:
                raise NotHealthyError(self._ending())
            if time.monotonic() > deadline:
                raise NotHealthyError(f"No healthy answer to GET /ping within {timeout:g} seconds.")
            if cancelled.wait(PING_INTERVAL_SECONDS):
                raise NotHealthyError("The deployment was cancelled.")

    def get(self, path: str) -> Answer:
        """Send a GET request, for example for /execution-parameters; raises ContainerUnreachableError."""
        return self._send("GET", path, None, {}, PING_TIMEOUT_SECONDS)

    def invoke(self, body: Payload, headers: Mapping[str, str], timeout: float = INVOCATION_TIMEOUT_SECONDS) -> Answer:
        """Send POST /invocations; raises ContainerUnreachableError when no answer comes in time."""
        return self._send("POST", "/invocations", body, headers, timeout)

    def stop(self, grace: float = STOP_GRACE_SECONDS) -> None:
        """Ask the process to end, wait until it has, and remove its root."""
        if self._process is not None:
            self._process.terminate(grace)
            self._process.wait(grace + 5)
        shutil.rmtree(self._root, ignore_errors=True)

    def _answers_ping(self) -> bool:
        try:
            return self.is_running and self._send("GET", "/ping", None, {}, PING_TIMEOUT_SECONDS).status == 200
        except ContainerUnreachableError:
            return False

    def _send(self, method: str, path: str, body: Payload | None, headers: Mapping[str, str], timeout: float) -> Answer:
        # A connection for each request: one kept open may be closed by the container just when it is used again, and
        # waits 40 ms for every answer that is sent in two small packets.
        host, port = self._address()
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers={**headers, **_length(body), "Connection": "close"})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ContainerUnreachableError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        return Answer(response.status, content, response.headers.get("Content-Type", ""), response.headers)

    def _address(self) -> tuple[str, int]:
        """Where the container answers; raises ContainerUnreachableError while it has no address."""
        if not isinstance(self._process, DockerContainer):
            return "127.0.0.1", self._port
        address = self._process.address()
        if address is None:
            raise ContainerUnreachableError("The container has no address yet")
        return address

    def _ending(self) -> str:
        """Say how the process ended, after its last line has come in."""
        code = self._process.wait(PING_TIMEOUT_SECONDS) if self._process else None
        if code is not None and code < 0:
            return f"The container was killed by {signal_name(-code)}."
        return f"The container ended with exit code {code}."

    def _take_line(self, line: str) -> None:
        if line.strip():
            self._lines.append(line.strip())
        self._on_line(line)


class ServingModel:
    """All containers of a model, each fed with the answer of the one before (an inference pipeline)."""

    def __init__(self, containers: Sequence[ServingContainer]) -> None:
        self._containers = containers
        self._stopped = threading.Event()
        self._starting = threading.Lock()

    @property
    def first(self) -> ServingContainer:
        """The container that takes the request."""
        return self._containers[0]

    @property
    def is_running(self) -> bool:
        """Whether every container's process is up."""
        return all(container.is_running for container in self._containers)

    def pids(self) -> list[int]:
        """The processes of the containers that are up."""
        return [pid for container in self._containers for pid in container.pids()]

    @property
    def is_stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopped.is_set()

    def start(self, timeout: float = STARTUP_TIMEOUT_SECONDS) -> None:
        """Install, start and wait for health.

        Raises NotHealthyError with the container's last words, and ModelArtifactError for a model that cannot be read.
        """
        for container in self._containers:
            self._start(container, timeout, install=True)

    def restart(self, timeout: float = STARTUP_TIMEOUT_SECONDS) -> None:
        """Start again what has ended; raises NotHealthyError."""
        for container in self._containers:
            if not container.is_running:
                self._start(container, timeout, install=False)

    def invoke(self, body: Payload, headers: Mapping[str, str], timeout: float = INVOCATION_TIMEOUT_SECONDS) -> Answer:
        """Send a request through the containers; the first answer that is none of 2xx is the answer."""
        answer = self.first.invoke(body, headers, timeout)
        for container in self._containers[1:]:
            if not 200 <= answer.status < 300:
                break
            answer = container.invoke(answer.body, {**headers, "Content-Type": answer.content_type}, timeout)
        return answer

    def stop(self, grace: float = STOP_GRACE_SECONDS) -> None:
        """End every process; a start under way ends too."""
        self._stopped.set()
        with self._starting:
            threads = [threading.Thread(target=container.stop, args=(grace,)) for container in self._containers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _start(self, container: ServingContainer, timeout: float, *, install: bool) -> None:
        with self._starting:
            if self._stopped.is_set():
                raise NotHealthyError("The deployment was cancelled.")
            if install:
                container.install()
            container.start()
        try:
            container.wait_until_healthy(timeout, self._stopped)
        except NotHealthyError as error:
            raise NotHealthyError(f"{error} Its last lines: {container.last_lines or '(none)'}") from error


def _length(body: Payload | None) -> dict[str, str]:
    """The length of a file, which else would be sent in chunks; that of bytes is sent anyway."""
    return {} if body is None or isinstance(body, bytes) else {"Content-Length": str(os.fstat(body.fileno()).st_size)}


def _free_port() -> int:
    """Choose a loopback port that nothing listens on."""
    while True:
        port = random.choice(SERVING_PORTS)  # noqa: S311
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
