"""The supervisor of one container process: `python supervise.py STATUS_FD COMMAND ...`.

It stands alone (started with -I -S, so that it is up in milliseconds). Its standard input is the server's hold on it:
first comes the command's environment, as eight hexadecimal digits of length and a JSON object; then a
line `terminate SECONDS` asks the container to end, and when the pipe closes, because the server is gone, everything the
container started is killed. On the status pipe it writes `started PID`, `failed REASON` or `exited RETURNCODE`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run the command until it ends, or until the server goes."""
    status, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(status, False)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = spawn(command, read_environment())
    except OSError as error:
        os.write(status, f"failed {error.strerror}: {error.filename or command[0]}\n".encode())
        return
    guard(child)
    os.write(status, f"started {child}\n".encode())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    returncode = watch(child, wake_read)
    kill_descendants(child)
    os.write(status, f"exited {returncode}\n".encode())


def prctl(option: int, value: int) -> None:
    """Ask Linux for a property of this process; other systems have only the pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def read_environment() -> dict[str, str]:
    """Read the command's environment from the server; raises OSError when the server is gone."""
    content = read_exactly(int(read_exactly(8), 16))
    environment: dict[str, str] = json.loads(content)
    return environment


def read_exactly(size: int) -> bytes:
    """Read so many bytes from standard input, and none of what follows them."""
    received = b""
    while len(received) < size:
        part = os.read(0, size - len(received))
        if not part:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        received += part
    return received


def spawn(command: list[str], environment: dict[str, str]) -> int:
    """Start the command in a session of its own, killed by the kernel should this supervisor die; raises OSError."""
    report_read, report_write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            become(command, environment, parent)
        except OSError as error:
            os.write(report_write, f"{error.errno}".encode())
        finally:
            os._exit(127)
    os.close(report_write)
    failure = os.read(report_read, 64)
    os.close(report_read)
    if failure:
        os.waitpid(child, 0)
        raise OSError(int(failure), os.strerror(int(failure)), command[0])
    return child


def become(command: list[str], environment: dict[str, str], parent: int) -> None:
    """Turn this forked process into the command."""
    os.setsid()
    for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(restored, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execvpe(command[0], command, environment)  # noqa: S606


def guard(child: int) -> None:
    """Start a shell that kills the child's process group should this supervisor be killed together with the server.

    The kernel kills the child itself then, not what the child has started. The shell waits for the end of a pipe that
    this process alone holds, and ends with it as any other descendant.
    """
    held_read, _ = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
            os.dup2(held_read, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            os.execve("/bin/sh", ["sh", "-c", 'read _; kill -s KILL -- "-$0"', str(child)], {})  # noqa: S606
        finally:
            os._exit(127)
    os.close(held_read)


def watch(child: int, wake: int) -> int:
    """Wait for the child and obey the server meanwhile; return the child's return code, negative for a signal."""
    deadline: float | None = None
    orders = b""
    watched = [0, wake]
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(watched, [], [], timeout)
        if wake in ready:
            os.read(wake, 4096)
            returncode = reap(child)
            if returncode is not None:
                return returncode
        if 0 in ready:
            received = os.read(0, 4096)
            orders += received
            *lines, orders = orders.split(b"\n")
            if not received:
                watched.remove(0)
                deadline = 0.0
            for line in lines:
                signal_group(child, signal.SIGTERM)
                kill_at = time.monotonic() + float(line.split()[1])
                deadline = kill_at if deadline is None else min(deadline, kill_at)
        if deadline is not None and time.monotonic() >= deadline:
            deadline = None
            signal_group(child, signal.SIGKILL)


def reap(child: int) -> int | None:
    """Collect what has ended; return the child's return code when it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = os.waitstatus_to_exitcode(status)
    return found


def signal_group(child: int, number: int) -> None:
    """Send a signal to the child's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def kill_descendants(child: int) -> None:
    """Kill what the child left behind: its group, and what has left the group and was handed to this supervisor."""
    signal_group(child, signal.SIGKILL)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for _ in range(100):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = children.read_text().split() if children.exists() else []
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
