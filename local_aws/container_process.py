"""Container processes: started under a supervisor that ends them, and all they started, when the server is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

SUPERVISOR = Path(__file__).with_name("supervise.py")


class ContainerStartError(Exception):
    """A command that could not be started; the message names it and says why."""


class ContainerProcess:
    """One running command in a session of its own, with its output handed over line by line.

    `on_line` is called for every line of standard output and standard error (decoded, without its end), in one thread
    per process; after `wait` has returned no further call comes.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_line: Callable[[str], None],
        afterwards: Sequence[str] = (),
    ) -> None:
        self._on_line = on_line
        self._ended = threading.Event()
        self._returncode: int | None = None
        status_read, status_write = os.pipe()
        try:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SUPERVISOR), str(status_write), *command],
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[status_write],
                start_new_session=True,
            )
        except OSError as error:
            os.close(status_read)
            raise ContainerStartError(f"{command[0]} could not be started in {cwd}: {error.strerror}") from error
        finally:
            os.close(status_write)
        self._hand_over(env, afterwards)
        self._status = os.fdopen(status_read, encoding="utf-8", errors="replace")
        self.pid = self._started(command)
        threading.Thread(target=self._follow, name=f"container-{self.pid}", daemon=True).start()

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_line: Callable[[str], None],
        afterwards: Sequence[str] = (),
    ) -> Self:
        """Start a command with exactly this environment; raises ContainerStartError when there is nothing to run.

        The command `afterwards` runs when it has ended, however it did and whatever has become of this server.
        """
        return cls(command, env=env, cwd=cwd, on_line=on_line, afterwards=afterwards)

    def pids(self) -> list[int]:
        """The process to be measured, with all it started."""
        return [self.pid] if self.returncode is None else []

    @property
    def returncode(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._returncode if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the process has ended and its last line was handed over; None when the time is over."""
        return self._returncode if self._ended.wait(timeout) else None

    def terminate(self, grace: float) -> None:
        """Ask the process to end (SIGTERM), kill it and all it started after `grace` seconds; does not wait."""
        stdin = self._supervisor.stdin
        with contextlib.suppress(OSError, ValueError):
            if stdin is not None:
                stdin.write(f"terminate {grace}\n".encode())
                stdin.flush()

    def _hand_over(self, environment: Mapping[str, str], afterwards: Sequence[str]) -> None:
        """Send the command's environment to the supervisor, which runs without it: no variable of a job steers it."""
        content = json.dumps({"environment": dict(environment), "afterwards": [*afterwards]}).encode()
        with contextlib.suppress(OSError):
            if self._supervisor.stdin is not None:
                self._supervisor.stdin.write(b"%08x" % len(content) + content)
                self._supervisor.stdin.flush()

    def _started(self, command: Sequence[str]) -> int:
        word, _, rest = self._status.readline().strip().partition(" ")
        if word == "started":
            return int(rest)
        output = self._supervisor.communicate()[0].decode(errors="replace").strip()
        self._status.close()
        raise ContainerStartError(f"{command[0]} could not be started: {rest or output or 'its supervisor ended'}")

    def _follow(self) -> None:
        """Hand over the lines, then the return code."""
        supervisor = self._supervisor
        watcher = threading.Thread(target=self._watch, name=f"watch-{self.pid}", daemon=True)
        watcher.start()
        try:
            if supervisor.stdout is not None:
                for line in supervisor.stdout:
                    self._on_line(line.decode("utf-8", errors="replace").rstrip("\r\n"))
        finally:
            watcher.join()
            for stream in (self._status, supervisor.stdin, supervisor.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            self._ended.set()

    def _watch(self) -> None:
        """Read the return code; a supervisor that was killed counts as a killed process, whose group is ended."""
        word, _, rest = self._status.readline().strip().partition(" ")
        if word == "exited":
            self._supervisor.wait()
            self._returncode = int(rest)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._returncode = self._supervisor.wait()
