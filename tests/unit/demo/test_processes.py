from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from demo import processes
from demo.processes import BackgroundProcess

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


def test_the_end_of_the_log_is_shown(tmp_path: Path) -> None:
    process = start("print('first'); print('last')", tmp_path / "log")
    psutil.wait_procs([psutil.Process(process.pid)], timeout=20)

    assert process.last_lines(1) == "last"
    assert not process.is_alive()
