"""Background processes in sessions of their own, which outlive the command that started them and end as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

KILL_AFTER_SECONDS = 10.0
OWN_FILES = 0o077
"""The umask of what is started: its databases, logs and keys are for nobody else on the machine."""
GONE = (psutil.Error, OSError)
"""What a question to a process raises when it ends meanwhile."""


@dataclass(frozen=True)
class BackgroundProcess:
    """A process that leads a session; `created` distinguishes it from a later process with the same id."""

    name: str
    pid: int
    created: float
    log: str

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> BackgroundProcess:
        """Start a command detached from the terminal, with its output in a log file."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        log.touch(mode=0o600)
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=OWN_FILES,
            )
        try:
            created = psutil.Process(child.pid).create_time()
        except GONE:  # it has ended already: its log says why
            created = time.time()
        return cls(name=name, pid=child.pid, created=created, log=str(log))

    def is_alive(self) -> bool:
        """Whether the process itself still runs."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE
        except GONE:
            return False

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        with suppress(OSError):
            lines = Path(self.log).read_text(errors="replace").splitlines()
            return "\n".join(lines[-count:])
        return ""

    def end(self) -> None:
        """End every process of its session: by SIGTERM, and by SIGKILL what is left after a while.

        A scheduler with LocalExecutor does not end on SIGTERM alone.
        """
        members = self._members()
        for process in members:
            with suppress(*GONE):
                process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(members, timeout=KILL_AFTER_SECONDS)
        deadline = time.monotonic() + KILL_AFTER_SECONDS
        while left and time.monotonic() < deadline:
            for process in left:
                with suppress(*GONE):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
            left = self._members()

    def _members(self) -> list[psutil.Process]:
        """The processes of the session, and what those started outside it."""
        members: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            with suppress(*GONE):
                if os.getsid(process.pid) == self.pid and process.create_time() >= self.created:
                    members[process.pid] = process
                    members.update((child.pid, child) for child in process.children(recursive=True))
        return [process for process in members.values() if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except GONE:
        return False
