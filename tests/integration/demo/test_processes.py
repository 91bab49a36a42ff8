from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from demo import processes
from demo.processes import BackgroundProcess
from tests.support.local_aws import eventually

STUBBORN_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def start(script: str, log: Path) -> BackgroundProcess:
    return BackgroundProcess.start("Program", [sys.executable, "-u", "-c", script], os.environ, log.parent, log)


def wait_for_output(process: BackgroundProcess) -> str:
    deadline = time.monotonic() + 20
    while not process.last_lines() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process.last_lines()


def test_what_ignores_sigterm_ends_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "KILL_AFTER_SECONDS", 0.5)
    process = start(STUBBORN_FAMILY, tmp_path / "log")
    child = int(wait_for_output(process))

    process.end()

    assert not process.is_alive()
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_later_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    stranger = psutil.Process()
    remembered = BackgroundProcess("Program", stranger.pid, stranger.create_time() - 100, str(tmp_path / "log"))

    assert not remembered.is_alive()


def ending(error: Exception) -> Callable[..., None]:
    def question(*_: object, **__: object) -> None:
        raise error

    return question


@pytest.mark.parametrize("asked", ["status", "create_time", "children", "send_signal", "kill"])
@pytest.mark.parametrize(
    "error",
    [
        psutil.NoSuchProcess(1),
        psutil.ZombieProcess(1),
        psutil.AccessDenied(1),
        ProcessLookupError(3, "No such process"),
        FileNotFoundError(2, "No such file or directory", "/proc/1/stat"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_process_that_ends_while_it_is_asked_something_is_no_error(
    asked: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "KILL_AFTER_SECONDS", 0.1)
    process = start("import time; time.sleep(600)", tmp_path / "log")
    with monkeypatch.context() as racing:
        racing.setattr(psutil.Process, asked, ending(error))
        process.is_alive()
        process.end()
    process.end()

    assert not process.is_alive()


def test_a_process_that_ended_before_it_was_asked_its_age_is_started_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil.Process, "create_time", ending(psutil.NoSuchProcess(1)))

    assert not start("", tmp_path / "log").is_alive()


def test_nobody_else_reads_what_a_process_writes(tmp_path: Path) -> None:
    process = start("open('airflow.db', 'w').close(); import os; os.mkdir('logs')", tmp_path / "program.log")
    eventually(lambda: not process.is_alive())

    modes = {file.name: file.stat().st_mode & 0o077 for file in tmp_path.iterdir()}
    assert modes == {"airflow.db": 0, "logs": 0, "program.log": 0}


def test_the_end_of_the_log_is_shown(tmp_path: Path) -> None:
    process = start("print('first'); print('last')", tmp_path / "log")
    eventually(lambda: not process.is_alive())

    assert process.last_lines(1) == "last"
    assert not process.is_alive()
