from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local_aws.container_process import ContainerProcess, ContainerStartError
from tests.support.local_aws import ROOT, eventually


class Lines(list[str]):
    def starting(self, word: str) -> str | None:
        return next((line for line in self if line.startswith(word)), None)


def start(script: str, lines: Lines | None = None, cwd: Path = ROOT) -> ContainerProcess:
    seen = Lines() if lines is None else lines
    return ContainerProcess.start(["sh", "-c", script], env=dict(os.environ), cwd=cwd, on_line=seen.append)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_every_line_is_handed_over_before_the_exit_code_is_known() -> None:
    lines = Lines()
    process = start("for i in $(seq 2000); do echo line $i; done; echo to stderr >&2; exit 7", lines)
    assert process.wait(20) == 7
    assert len(lines) == 2001
    assert lines[-1] == "to stderr"


def test_the_environment_is_exactly_what_was_given() -> None:
    lines = Lines()
    process = ContainerProcess.start(["/usr/bin/env"], env={"ONLY": "this"}, cwd=ROOT, on_line=lines.append)
    assert process.wait(20) == 0
    assert "ONLY=this" in lines
    assert not lines.starting("PATH=")


def test_no_variable_of_a_job_reaches_the_supervisor() -> None:
    job = {"LD_PRELOAD": "/no/such/library.so", "PATH": "/usr/bin:/bin", "OF_THE_JOB": "1"}
    lines = Lines()
    process = ContainerProcess.start(
        ["/bin/sh", "-c", "echo $OF_THE_JOB; sleep 300"], env=job, cwd=ROOT, on_line=lines.append
    )
    supervisor = psutil.Process(process._supervisor.pid).environ()
    assert "OF_THE_JOB" not in supervisor
    assert supervisor.get("LD_PRELOAD") == os.environ.get("LD_PRELOAD")
    eventually(lambda: "1" in lines)
    process.terminate(0)
    assert process.wait(20) is not None


def test_a_large_environment_arrives_whole() -> None:
    lines = Lines()
    job = {f"VARIABLE_{number}": "x" * 1000 for number in range(200)} | {"LAST": "é\nb"}
    process = ContainerProcess.start(["/usr/bin/env", "-0"], env=job, cwd=ROOT, on_line=lines.append)
    assert process.wait(20) == 0
    assert set("\n".join(lines).split("\0")) - {""} == {f"{name}={value}" for name, value in job.items()}


def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(ContainerStartError, match=r"/no/such/python could not be started: No such file"):
        ContainerProcess.start(["/no/such/python"], env={}, cwd=ROOT, on_line=print)


def test_a_signal_shows_in_the_return_code() -> None:
    process = start("sleep 300")
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL


def test_terminate_asks_and_then_kills() -> None:
    lines = Lines()
    process = start("trap '' TERM; echo ready; while :; do sleep 0.1; done", lines)
    eventually(lambda: lines)
    before = time.monotonic()
    process.terminate(grace=0.5)
    assert process.wait(20) == -signal.SIGKILL
    assert time.monotonic() - before >= 0.4


def test_nothing_the_process_started_outlives_it() -> None:
    lines = Lines()
    script = "sleep 300 & echo $!; setsid sleep 300 & echo $!; (setsid sh -c 'sleep 300 & echo $!; wait' &) ; sleep 0.3"
    process = start(script, lines)
    assert process.wait(20) == 0
    assert len(lines) == 3
    for pid in lines:
        eventually(lambda pid=int(pid): is_gone(pid))


PARENT = """
import os, sys, time
from pathlib import Path
from local_aws.container_process import ContainerProcess
script = (
    "trap '' TERM HUP INT; sleep 300 & echo group $!; setsid sleep 300 & echo session $!; "
    "while :; do sleep 1; done"
)

def say(line):
    os.write(1, f"{line}\\n".encode())

process = ContainerProcess.start(["sh", "-c", script], env=dict(os.environ), cwd=Path("/"), on_line=say)
say(f"command {process.pid}")
say(f"supervisor {process._supervisor.pid}")
time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_server_however_it_ends(number: int) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline().split()[1]) for _ in range(4)]
    assert not any(is_gone(pid) for pid in pids)
    parent.send_signal(number)
    parent.wait(20)
    for pid in pids:
        eventually(lambda pid=pid: is_gone(pid))


def test_a_killed_supervisor_takes_its_process_along() -> None:
    lines = Lines()
    process = start("sleep 300 & echo started; wait", lines)
    eventually(lambda: lines)
    os.kill(process._supervisor.pid, signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    eventually(lambda: is_gone(process.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a process together with its parent")
def test_a_command_and_its_group_end_when_server_and_supervisor_are_killed_together() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = {name: int(pid) for name, pid in (parent.stdout.readline().split() for _ in range(4))}
    try:
        for pid in (parent.pid, pids["supervisor"]):
            os.kill(pid, signal.SIGSTOP)  # so that neither sees the other go
        for pid in (parent.pid, pids["supervisor"]):
            os.kill(pid, signal.SIGKILL)
        parent.wait(20)
        eventually(lambda: is_gone(pids["command"]) and is_gone(pids["group"]))
    finally:
        for pid in (pids["group"], pids["session"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("script", ["exit 0", "sleep 300"])
def test_what_guards_a_process_ends_with_it(script: str) -> None:
    process = start(f"sleep 1; {script}")
    helpers = psutil.Process(process._supervisor.pid).children()
    assert len(helpers) == 2
    process.terminate(5)
    assert process.wait(20) is not None
    eventually(lambda: all(is_gone(helper.pid) for helper in helpers))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process mounts of its own")
def test_the_base_folder_is_opt_ml_to_the_container_alone(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    before = {path.name for path in Path("/opt").iterdir()}
    lines = Lines()
    script = "echo opt $(ls /opt); echo host $(getent hosts algo-1); echo made > /opt/ml/made; sh -c 'cat /opt/ml/made'"
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path)}

    process = ContainerProcess.start(["sh", "-c", script], env=environment, cwd=ROOT, on_line=lines.append)

    assert process.wait(20) == 0
    assert (tmp_path / "made").read_text() == "made\n"
    assert lines[-1] == "made"
    assert set((lines.starting("opt ") or "").split()[1:]) == before | {"ml"}
    assert "127.0.0.1" in (lines.starting("host ") or "")
    assert {path.name for path in Path("/opt").iterdir()} == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of a process's own are Linux's")
def test_the_temporary_folder_is_short_enough_for_sockets_however_long_the_base_folder_is(tmp_path: Path) -> None:
    base = tmp_path / ("long" * 30)
    (base / "tmp").mkdir(parents=True)
    script = (
        "import os, socket, tempfile; print(tempfile.gettempdir());"
        "socket.socket(socket.AF_UNIX).bind(tempfile.mkdtemp() + '/listener-01234567'); print('bound')"
    )
    lines: list[str] = []
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(base), "TMPDIR": str(base / "tmp")}
    container = ContainerProcess.start(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, on_line=lines.append
    )

    assert container.wait(60) == 0, lines
    assert lines[-1] == "bound"
    assert len(lines[0]) < 60


def test_a_command_that_names_opt_ml_needs_one_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path / "absent")}

    with pytest.raises(ContainerStartError, match="/opt/ml of its own, which the command names"):
        ContainerProcess.start(["sh", "-c", "ls /opt/ml"], env=environment, cwd=ROOT, on_line=lambda _: None)
    # Others find their folder in the variable.
    assert ContainerProcess.start(["true"], env=environment, cwd=ROOT, on_line=lambda _: None).wait(20) == 0


@pytest.mark.parametrize("ending", ["by itself", "terminated", "with its supervisor"])
def test_what_is_to_run_afterwards_runs_however_the_process_ends(tmp_path: Path, ending: str) -> None:
    removed = tmp_path / "removed"
    process = ContainerProcess.start(
        ["sleep", "0" if ending == "by itself" else "300"],
        env=dict(os.environ),
        cwd=ROOT,
        on_line=print,
        afterwards=["sh", "-c", 'echo done > "$0"', str(removed)],
    )
    if ending == "terminated":
        process.terminate(0)
    if ending == "with its supervisor":
        os.kill(process._supervisor.pid, signal.SIGKILL)

    assert process.wait(20) is not None
    if ending == "with its supervisor":
        eventually(removed.exists)
    assert removed.exists()
