"""A Docker engine that runs containers instead of processes: `python -m local_aws --docker`.

The client `docker run` is a process under the supervisor as any other command. Its signals reach the container, and
whatever becomes of it, of the supervisor or of the server, the container is removed afterwards.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws import moto_ecr
from local_aws.container_process import ContainerProcess, ContainerStartError

OPT_ML = "/opt/ml"
SERVING_PORT = 8080
"""Where SageMaker expects an answer of every serving container."""
MOST_PROCESSES = 4096
LABEL = "local-aws"
ACCOUNT = re.compile(r"[0-9]{12}")
CLIENT_SECONDS = 30
ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
REMOVAL = '"$0" --host "$1" rm --force --volumes "$2"; [ -z "$3" ] || "$0" --host "$1" network rm "$3"'


class EngineError(Exception):
    """There is no engine to run containers with; the message says what to do."""


@dataclass(frozen=True)
class DockerImage:
    """An image on the engine or in this server's registry, and how `docker run` starts it."""

    engine: DockerEngine
    name: str
    arguments: tuple[str, ...]
    entrypoint: str | None = None


@dataclass(frozen=True)
class Limits:
    """What a container may use of this machine: processors, and bytes of memory."""

    cpus: int
    memory: int


class DockerContainer(ContainerProcess):
    """A running container, by the client that shows its output."""

    engine: DockerEngine
    name: str
    found_at: tuple[str, int] | None = None

    def pids(self) -> list[int]:
        """The first process of the container, as this machine numbers it; none before it runs."""
        pid = self.engine.ask("inspect", "--format", "{{.State.Pid}}", self.name)
        return [int(pid)] if pid.isdigit() and pid != "0" else []

    def address(self) -> tuple[str, int] | None:
        """Where it serves: its published port, or its address in a network of its own, once it has one."""
        if self.found_at is None:
            host = self.engine.ask("inspect", "--format", ADDRESS, self.name)
            self.found_at = (host, SERVING_PORT) if host else None
        return self.found_at


class DockerEngine:
    """The engine that the Docker client of this machine talks to; `registry` is the host of this server's own."""

    def __init__(self, program: str, host: str, registry: str) -> None:
        self._program = program
        self._host = host
        self._registry = registry

    @classmethod
    def find(cls, registry: str) -> DockerEngine:
        """The engine; raises EngineError if none answers."""
        program = shutil.which("docker")
        if program is None:
            raise EngineError("--docker needs Docker, which is not installed: install it, or start without --docker")
        asked = [program, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        host = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        engine = cls(program, host, registry)
        answer = engine._run("version", "--format", "{{.Server.Version}}")
        if answer.returncode:
            raise EngineError(
                f"--docker needs a Docker engine, and none answers at {host or 'the default address'}: "
                f"{_last_line(answer)}. Start it (dockerd), see that you may use it, or start without --docker"
            )
        return engine

    def image(self, name: str, verb: str, algorithm: Mapping[str, Any]) -> DockerImage | None:
        """The image as a request runs it, with its entry point or the request's; None if the engine cannot have it."""
        if not self._has(name):
            return None
        entrypoint, arguments = algorithm.get("ContainerEntrypoint"), algorithm.get("ContainerArguments")
        if entrypoint is None:
            return DockerImage(self, name, tuple(arguments or [verb]))
        return DockerImage(self, name, (*entrypoint[1:], *(arguments or ())), entrypoint[0])

    def _has(self, image: str) -> bool:
        """Whether an image is on the engine, or can be pulled from this server's registry; no option is an image."""
        repository = self._own_repository(image)
        if repository is not None:
            account, region, name, _ = repository
            known = moto_ecr.has_repository(account, region, name)
            return known and moto_ecr.stored_manifest(*repository) is not None
        return not image.startswith("-") and self._run("image", "inspect", image).returncode == 0

    def start(
        self,
        image: DockerImage,
        *,
        base: Path,
        environment: Mapping[str, str],
        limits: Limits,
        networked: bool,
        on_line: Callable[[str], None],
        port: int | None = None,
    ) -> ContainerProcess:
        """Start a container whose /opt/ml is `base`; raises ContainerStartError.

        With a `port` it serves there; else it has the network of this machine. One that is not `networked` reaches
        nothing.
        """
        self._pull(image.name)
        _open_to_any_user(base)
        name = f"local-aws-{uuid.uuid4().hex[:12]}"
        isolated = name if port is not None and not networked else ""
        if isolated:
            self._network(isolated)
        words = [self._program, "--host", self._host, "run", "--rm", "--pull", "never", "--name", name]
        words += ["--label", LABEL, "--mount", f"type=bind,source={base},target={OPT_ML}"]
        words += ["--cpus", str(limits.cpus), "--memory", str(limits.memory), "--shm-size", str(limits.memory // 2)]
        words += ["--pids-limit", str(MOST_PROCESSES), "--security-opt", "no-new-privileges"]
        words += [] if os.getuid() == 0 else ["--user", f"{os.getuid()}:{os.getgid()}"]
        words += _network_words(isolated, port, networked=networked)
        for variable, value in environment.items():
            words += ["--env", f"{variable}={value}"]
        words += ["--entrypoint", image.entrypoint] if image.entrypoint else []
        try:
            container = DockerContainer.start(
                [*words, image.name, *image.arguments],
                env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
                cwd=base,
                on_line=on_line,
                afterwards=["sh", "-c", REMOVAL, self._program, self._host, name, isolated],
            )
        except ContainerStartError:
            if isolated:
                self._run("network", "rm", isolated)
            raise
        container.engine, container.name = self, name
        if port is not None and not isolated:
            container.found_at = "127.0.0.1", port
        return container

    def ask(self, *words: str) -> str:
        """What the client prints, empty if it fails."""
        answer = self._run(*words)
        return answer.stdout.strip() if answer.returncode == 0 else ""

    def _network(self, name: str) -> None:
        """Make a network that leads nowhere; this machine alone reaches what is in it."""
        answer = self._run("network", "create", "--internal", "--label", LABEL, name)
        if answer.returncode:
            raise ContainerStartError(f"A network without a way out could not be made: {_last_line(answer)}")

    def _pull(self, image: str) -> None:
        """Pull an image of this server's registry; every other one is on the engine already."""
        repository = self._own_repository(image)
        if repository is None:
            return
        token = b64encode(f"AWS:{repository[0]}{moto_ecr.PASSWORD_END}".encode()).decode()
        with tempfile.TemporaryDirectory(prefix="local-aws-docker-") as folder:
            Path(folder, "config.json").write_text(json.dumps({"auths": {self._registry: {"auth": token}}}))
            answer = self._run("pull", "--quiet", image, config=folder, seconds=None)
        if answer.returncode:
            raise ContainerStartError(f"{image} could not be pulled: {_last_line(answer)}")

    def _own_repository(self, image: str) -> tuple[str, str, str, str] | None:
        """Account, region, repository and tag or digest of an image in this server's registry."""
        host, _, path = image.partition("/")
        if host != self._registry or path.count("/") < 2:
            return None
        account, region, named = path.split("/", 2)
        if ACCOUNT.fullmatch(account) is None:
            return None
        name, at, reference = named.partition("@")
        if not at:
            name, _, reference = named.partition(":")
        return account, region, name, reference or "latest"

    def _run(
        self, *words: str, config: str = "", seconds: float | None = CLIENT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        command = [self._program, *(["--config", config] if config else []), "--host", self._host, *words]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        except (OSError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(command, 1, "", str(error))


def _network_words(isolated: str, port: int | None, *, networked: bool) -> Sequence[str]:
    """Which network a container has: one of its own, the default one with its port published, this machine's, none."""
    if isolated:
        return ("--network", isolated)
    if port is not None:
        return ("--publish", f"127.0.0.1:{port}:{SERVING_PORT}")
    return ("--network", "host" if networked else "none")


def _open_to_any_user(base: Path) -> None:
    """Let the user of an image, whoever that is, read and write below /opt/ml; nobody else comes through to it.

    Links are left alone: an earlier container may have written one that leads out of the folder.
    """
    for folder, _, names in os.walk(base, followlinks=False):
        Path(folder).chmod(0o777)
        for path in (Path(folder, name) for name in names):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                path.chmod(mode | (0o777 if mode & stat.S_IXUSR else 0o666))


def _last_line(answer: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (answer.stderr or answer.stdout).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "without a reason"
