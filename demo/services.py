"""Starts and ends the local AWS and Airflow."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from demo.bootstrap import REGION, SETTINGS_VARIABLE, LocalSettings, bootstrap, local_session
from demo.processes import BackgroundProcess

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
AWS_PORT = 4566
AIRFLOW_PORT = 8080
USER = "admin"
PACE = {
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "45",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
}
"""How soon Airflow looks again.

A DAG that is unpaused gets its watcher when its file is read again; a file that changes is read at once.
"""
OWN_VARIABLES = ("AIRFLOW_", "AWS_")
"""How the names of variables begin that lead to an Airflow or an AWS."""
WARNINGS = "PYTHONWARNINGS"
WITHOUT_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"
"""Not passed on: every process of Airflow, and every task, would compile 1,500 modules again."""
AWS_SECONDS = 60
AIRFLOW_SECONDS = 240
COMMANDS_HINT = "`.local/run COMMAND` runs a command with both, such as `.local/run airflow dags list`."
SCHEDULED_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


class ServicesError(Exception):
    """A reason for which the services cannot be used, for the person at the terminal."""


@dataclass(frozen=True)
class Services:
    """The two services that run, and how to reach them."""

    aws_url: str
    airflow_url: str
    user: str
    password: str
    processes: tuple[BackgroundProcess, ...]

    @classmethod
    def read(cls, state: Path) -> Services | None:
        """The services that were started with a state folder, whether or not they still run."""
        try:
            content = json.loads((state / "services.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        try:
            processes = tuple(BackgroundProcess(**process) for process in content.pop("processes"))
            return cls(processes=processes, **content)
        except (AttributeError, KeyError, TypeError):  # of another version of this project
            return None

    def write(self, state: Path) -> None:
        """Note the services for the commands that follow; the file holds the password."""
        write_private(state / "services.json", json.dumps(asdict(self), indent=2))

    @property
    def settings(self) -> LocalSettings:
        """The settings with which Airflow runs."""
        return LocalSettings.at(self.aws_url)

    def are_alive(self) -> bool:
        """Whether both processes run."""
        return all(process.is_alive() for process in self.processes)

    def sign_in_hint(self) -> str:
        """Where the user interface is and how to enter it."""
        return f"Airflow: {self.airflow_url}  user: {self.user}  password: {self.password}"


def up(state: Path, aws_port: int, airflow_port: int, say: Callable[[str], None]) -> Services:
    """Start both services, or return those that run already.

    Raises ServicesError when a port is taken, a service dies or does not answer in time.
    """
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    with _one_at_a_time(state):
        running = Services.read(state)
        if running and running.are_alive():
            say(f"Airflow and the local AWS run already, at {running.airflow_url} and {running.aws_url}.")
            return running
        _end(state)
        if aws_port == airflow_port:
            raise ServicesError(f"PORT and AIRFLOW_PORT are both {aws_port}: give each service a port of its own.")
        for port, variable in ((aws_port, "PORT"), (airflow_port, "AIRFLOW_PORT")):
            require_free(port, variable)
        return _start(state, aws_port, airflow_port, say)


def down(state: Path, say: Callable[[str], None]) -> None:
    """End both services and everything they started."""
    if Services.read(state) is None:
        say("Nothing is running.")
        return
    with _one_at_a_time(state):
        _end(state)
    say("Airflow and the local AWS have ended.")


def require_free(port: int, variable: str) -> None:
    """Check that a loopback port can be listened on; `variable` is what chooses another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ServicesError(
                f"Port {port} is taken: end what listens there, or choose another port with {variable}={port + 1}."
            ) from None


def _start(state: Path, aws_port: int, airflow_port: int, say: Callable[[str], None]) -> Services:
    started: list[BackgroundProcess] = []
    aws_url, airflow_url = f"http://127.0.0.1:{aws_port}", f"http://127.0.0.1:{airflow_port}"
    password = secrets.token_urlsafe(12)
    services = Services(aws_url, airflow_url, USER, password, ())

    def start(name: str, command: list[str], environment: Mapping[str, str]) -> BackgroundProcess:
        nonlocal services
        log = state / "logs" / f"{name.lower().replace(' ', '-')}.log"
        started.append(BackgroundProcess.start(name, command, environment, ROOT, log))
        services = Services(aws_url, airflow_url, USER, password, tuple(started))
        services.write(state)
        return started[-1]

    try:
        python = [sys.executable, "-m"]
        say(f"Starting the local AWS on port {aws_port} ...")
        command = [*python, "local_aws", "--port", str(aws_port), "--state-dir", str(state / "aws")]
        aws = start("Local AWS", command, _plain_environment())
        _wait(aws, AWS_SECONDS, lambda: _aws_answers(aws_url))
        bootstrap(services.settings, local_session(), aws_url)

        say(f"Starting Airflow on port {airflow_port} ...")
        environment = airflow_environment(state, services.settings, aws_url, airflow_url)
        write_private(state / "run", run_script(environment))
        (state / "run").chmod(0o700)
        passwords = Path(environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
        write_private(passwords, json.dumps({USER: password}) + "\n")
        airflow = start("Airflow", [*python, "demo.airflow_standalone"], environment)
        _wait(airflow, AIRFLOW_SECONDS, lambda: _airflow_is_healthy(airflow_url))
    except BaseException:
        with _uninterrupted():
            _end_after_failure(state, services, say)
        raise
    return services


def airflow_environment(state: Path, settings: LocalSettings, aws_url: str, airflow_url: str) -> dict[str, str]:
    """The environment of Airflow's processes: nothing of it comes from the caller's own Airflow or AWS."""
    home = state / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": airflow_url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": airflow_url.rpartition(":")[2],
        # All components start at once. Without these keys each reads those in the file that the first one writes, and
        # one that comes too early has none.
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTOR": "demo.local_executor.WarmLocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        # Each client of AWS writes a line about where it found its credentials, and one about its endpoint. That of
        # Airflow writes an error for each document of a task that was skipped, which the tasks after it expect.
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": (
            "botocore.credentials=WARNING botocore.configprovider=WARNING aiobotocore.credentials=WARNING "
            "airflow.sdk.api.client=CRITICAL"
        ),
        "AIRFLOW__API__DEFAULT_WRAP": "True",
        "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "demo.airflow_standalone.LOGGING_CONFIG",
        **PACE,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
        SETTINGS_VARIABLE: settings.to_json(),
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        # Airflow 3.3 itself reads ignore files in a way that pathspec deprecates, at the start of every task. Its
        # command line misses graphviz, with which nothing here draws.
        WARNINGS: "ignore:GitWildMatchPattern:DeprecationWarning,ignore:Could not import graphviz:UserWarning",
    }
    return {**_plain_environment(), **own}


def _plain_environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith((*OWN_VARIABLES, WITHOUT_BYTE_CODE))
    }
    interpreters = str(Path(sys.executable).parent)
    return {
        **kept,
        "PATH": f"{interpreters}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def run_script(environment: Mapping[str, str]) -> str:
    """A shell script that runs a command with what Airflow and the local AWS need of this environment.

    `.local/run airflow dags list` reaches the Airflow that runs, whatever Airflow or AWS the caller's own shell names.
    """
    kept = {name: value for name, value in environment.items() if name.startswith(OWN_VARIABLES)}
    kept |= {name: environment[name] for name in ("PYTHONPATH", "NO_PROXY", "no_proxy", WARNINGS)}
    others = f"^({'|'.join(OWN_VARIABLES)})[A-Za-z0-9_]*"
    lines = (
        "#!/bin/sh",
        "# .local/run COMMAND ...: a command with the Airflow and the local AWS of `make demo` or `make local`.",
        f"unset $(env | grep -oE '{others}')",
        *(f"export {name}={shlex.quote(value)}" for name, value in kept.items()),
        f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
        'exec "$@"',
    )
    return "\n".join(lines) + "\n"


def write_private(file: Path, text: str) -> None:
    """Write a file whole, or not at all, that only its owner can read."""
    partial = file.with_name(f"{file.name}.part")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _wait(process: BackgroundProcess, seconds: float, answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not answers():
        if not process.is_alive():
            raise ServicesError(
                f"{process.name} ended while it started:\n{process.last_lines()}\nIts log: {process.log}"
            )
        if time.monotonic() > deadline:
            raise ServicesError(
                f"{process.name} did not answer within {seconds:.0f} s:\n{process.last_lines()}\nIts log: {process.log}"
            )
        time.sleep(0.3)


def _aws_answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5, trust_env=False).status_code < 500
    return False


def _airflow_is_healthy(url: str) -> bool:
    with suppress(httpx.HTTPError, ValueError):
        health = httpx.get(f"{url}/api/v2/monitor/health", timeout=5, trust_env=False).json()
        return all((health.get(component) or {}).get("status") == "healthy" for component in SCHEDULED_COMPONENTS)
    return False


def _end_after_failure(state: Path, services: Services, say: Callable[[str], None]) -> None:
    """End what was started; what goes wrong then is only said, as the failure itself is what a person has to know."""
    try:
        _end(state, services)
    except Exception as error:  # noqa: BLE001 - the failure that led here is raised after this
        say(f"{error}")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C: a second one would leave processes running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(state: Path, services: Services | None = None) -> None:
    services = services or Services.read(state)
    processes = services.processes if services else ()
    for process in reversed(processes):
        process.end()
    left = [f"{process.name} (process {process.pid})" for process in processes if process.is_alive()]
    if left:
        raise ServicesError(f"{' and '.join(left)} could not be ended: end it with `kill -9`, then call `make down`.")
    for note in ("services.json", "run"):
        (state / note).unlink(missing_ok=True)
    for folder in (
        "aws",
        "airflow",
    ):  # the local AWS forgets its buckets when it ends: Airflow's history goes with them
        shutil.rmtree(state / folder, ignore_errors=True)


@contextmanager
def _one_at_a_time(state: Path) -> Iterator[None]:
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServicesError("Another make is starting or ending the services: wait until it is done.") from None
        yield


def requested_ports() -> tuple[int, int]:
    """The ports of the local AWS and of Airflow, from PORT and AIRFLOW_PORT."""
    return _port("PORT", AWS_PORT), _port("AIRFLOW_PORT", AIRFLOW_PORT)


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ServicesError(f"{variable}={text} is not a port: give a number from 1 to 65535.")
    return int(text)


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Start or end the services of `.local`."""
    try:
        if arguments == ["down"]:
            down(STATE, _say)
        else:
            services = up(STATE, *requested_ports(), _say)
            print(f"{services.sign_in_hint()}\nLocal AWS: {services.aws_url}\n{COMMANDS_HINT}\n`make down` ends both.")
    except ServicesError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: nothing is left running.", file=sys.stderr)
        return 130
    return 0
