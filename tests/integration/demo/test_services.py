"""The processes that the demo starts, and what they are given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo import processes, services
from demo.bootstrap import LocalSettings
from demo.processes import BackgroundProcess
from demo.services import ROOT, ServicesError, airflow_environment, down, up
from tests.support.ports import free_port

pytestmark = pytest.mark.enable_socket
AWS_URL = "http://127.0.0.1:4566"
SLEEPING = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> list[BackgroundProcess]:
    """Services that only sleep: the local AWS answers at once, and Airflow never."""
    started: list[BackgroundProcess] = []
    real = BackgroundProcess.start

    def start(name: str, _command: object, environment: Any, folder: Path, log: Path) -> BackgroundProcess:
        started.append(real(name, SLEEPING, environment, folder, log))
        return started[-1]

    monkeypatch.setattr(processes, "KILL_AFTER_SECONDS", 5)
    monkeypatch.setattr(BackgroundProcess, "start", start)
    monkeypatch.setattr(services, "bootstrap", lambda *_: None)
    monkeypatch.setattr(services, "_aws_answers", lambda _: True)
    monkeypatch.setattr(services, "_airflow_is_healthy", lambda _: False)
    monkeypatch.setattr(services, "AIRFLOW_SECONDS", 0)
    return started


def test_a_start_that_fails_says_why_and_leaves_nothing_running(
    cheap: list[BackgroundProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens while the rest is ended: here each process ends just before it is asked for its status."""
    status, asked = psutil.Process.status, set[int]()

    def ends_when_asked_first(process: psutil.Process) -> str:
        if process.pid in {each.pid for each in cheap} - asked:
            asked.add(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            raise psutil.NoSuchProcess(process.pid)
        return str(status(process))

    with monkeypatch.context() as racing:
        racing.setattr(services, "_wait", racing_wait(racing, ends_when_asked_first))
        with pytest.raises(ServicesError, match="Airflow did not answer"):
            up(tmp_path, free_port(), free_port(), print)

    assert len(cheap) == 2
    assert not any(process.is_alive() for process in cheap)
    assert not (tmp_path / "services.json").exists()
    assert not (tmp_path / "airflow").exists()


def racing_wait(racing: pytest.MonkeyPatch, status: Callable[[psutil.Process], str]) -> Callable[..., None]:
    def wait(process: BackgroundProcess, *_: object) -> None:
        if process.name == "Airflow":
            racing.setattr(psutil.Process, "status", status)
            raise ServicesError("Airflow did not answer")

    return wait


def test_what_cannot_be_ended_is_named_beside_the_reason(
    cheap: list[BackgroundProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with monkeypatch.context() as immortal:
        immortal.setattr(BackgroundProcess, "end", lambda _: None)
        with pytest.raises(ServicesError, match="Airflow did not answer within 0 s"):
            up(tmp_path, free_port(), free_port(), said.append)

    assert "Local AWS (process" in said[-1]
    assert "could not be ended" in said[-1]
    down(tmp_path, said.append)
    assert said[-1] == "Airflow and the local AWS have ended."
    assert not any(process.is_alive() for process in cheap)


def test_everything_written_is_for_its_owner_alone(cheap: list[BackgroundProcess], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    seen: dict[str, int] = {}

    def look(_: str) -> bool:
        seen.update({file.name: file.stat().st_mode & 0o077 for file in [state, *state.rglob("*")] if file.is_file()})
        seen[state.name] = state.stat().st_mode & 0o077
        return True

    with pytest.MonkeyPatch.context() as answering:
        answering.setattr(services, "_airflow_is_healthy", look)
        up(state, free_port(), free_port(), print)
    down(state, print)

    assert {"state", "services.json", "passwords.json", "airflow.log"} <= seen.keys()
    assert {name: mode for name, mode in seen.items() if mode and name != "lock"} == {}


def test_a_command_reaches_what_runs_whatever_the_shell_names(tmp_path: Path) -> None:
    """Values with quotes and spaces arrive whole; the caller's own Airflow and AWS do not."""
    environment = airflow_environment(tmp_path, LocalSettings.at(AWS_URL), AWS_URL, "http://127.0.0.1:8080")
    script = tmp_path / "run"
    script.write_text(services.run_script(environment))
    caller = {**os.environ, "AWS_PROFILE": "mine", "AIRFLOW__CORE__EXECUTOR": "Other", "AWS_ENDPOINT_URL": "x"}
    shown = subprocess.run(
        ["/bin/sh", script, sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
        env=caller,
        capture_output=True,
        text=True,
        check=True,
    )

    arrived = json.loads(shown.stdout)
    named = {name: value for name, value in arrived.items() if name.startswith(("AIRFLOW_", "AWS_"))}
    assert named == {name: value for name, value in environment.items() if name.startswith(("AIRFLOW_", "AWS_"))}
    assert json.loads(named["AIRFLOW_VAR_IMAGE_CLASSIFICATION"])["region"] == "us-east-1"
    assert arrived["PATH"].startswith(str(Path(sys.executable).parent))


def test_the_logs_of_tasks_that_wait_are_read_from_files_alone(tmp_path: Path) -> None:
    environment = airflow_environment(tmp_path, LocalSettings.at(AWS_URL), AWS_URL, "http://127.0.0.1:8080")
    program = """
import warnings
from types import SimpleNamespace
from airflow.utils.log.log_reader import TaskLogReader
warnings.warn("GitWildMatchPattern ('gitwildmatch') is deprecated.", DeprecationWarning)
warnings.warn("something else is deprecated", UserWarning)
print("read:", TaskLogReader().log_handler._read_from_logs_server(SimpleNamespace(hostname=""), "a/log"))
"""

    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)

    assert "read: ([], [])" in done.stdout, done.stderr
    assert "GitWildMatchPattern" not in done.stdout + done.stderr
    assert "something else is deprecated" in done.stdout + done.stderr
