"""The supervisor of one container process: `python supervise.py STATUS_FD COMMAND ...`.

It stands alone (started with -I -S, so that it is up in milliseconds). Its standard input is the server's hold on it.
First comes a JSON object after eight hexadecimal digits of its length: the command's environment, and a command that
runs afterwards. A line `terminate SECONDS` asks the container to end, and when the pipe closes, because the server is
gone, everything the container started is killed. On the status pipe it writes `started PID`, `failed REASON` or
`exited RETURNCODE`.

The folder that SAGEMAKER_BASE_DIR names is /opt/ml to the command and what it starts, where Linux lets a process have
mounts of its own. A command that names /opt/ml itself is not started where it does not.
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
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_BIND = 0x1000
LONGEST_FOLDER_OF_SOCKETS = 70
"""Bytes; below it comes the likes of `/pymp-abcdefgh/listener-abcdefgh`."""
MS_REC = 0x4000
MS_PRIVATE = 0x40000
OPT = Path("/opt")
OPT_ML = OPT / "ml"
HOSTS = Path("/etc/hosts")
HOSTS_OF_THE_JOB = "127.0.0.1 algo-1\n"


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
        environment, afterwards = read_orders()
        child = spawn(command, environment)
    except OSError as error:
        os.write(status, f"failed {error.strerror}: {error.filename or command[0]}\n".encode())
        return
    guard(child, afterwards)
    os.write(status, f"started {child}\n".encode())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    returncode = watch(child, wake_read)
    kill_descendants(child)
    if afterwards:
        os.spawnvp(os.P_WAIT, afterwards[0], afterwards)  # noqa: S606
    os.write(status, f"exited {returncode}\n".encode())


def prctl(option: int, value: int) -> None:
    """Ask Linux for a property of this process; other systems have only the pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def read_orders() -> tuple[dict[str, str], list[str]]:
    """Read the command's environment and what runs afterwards; raises OSError when the server is gone."""
    orders = json.loads(read_exactly(int(read_exactly(8), 16)))
    return orders["environment"], orders["afterwards"]


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
            os.write(report_write, json.dumps([error.errno, error.filename or command[0]]).encode())
        finally:
            os._exit(127)
    os.close(report_write)
    failure = os.read(report_read, 4096)
    os.close(report_read)
    if failure:
        os.waitpid(child, 0)
        number, subject = json.loads(failure)
        raise OSError(number, os.strerror(number), subject)
    return child


def become(command: list[str], environment: dict[str, str], parent: int) -> None:
    """Turn this forked process into the command."""
    os.setsid()
    for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(restored, signal.SIG_DFL)
    if base := environment.get("SAGEMAKER_BASE_DIR"):
        has_opt_ml = True
        try:
            take_opt_ml(base)
        except OSError as error:
            if any(str(OPT_ML) in word for word in command):
                raise OSError(error.errno, "", f"{OPT_ML} of its own, which the command names") from error
            has_opt_ml = False
        environment = shorten_temporary_folder(environment, base, has_opt_ml=has_opt_ml)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.execvpe(command[0], command, environment)  # noqa: S606


def shorten_temporary_folder(environment: dict[str, str], base: str, *, has_opt_ml: bool) -> dict[str, str]:
    """Let TMPDIR be short enough for the sockets that Python's multiprocessing makes there.

    Linux takes 107 bytes. A loader of PyTorch whose sockets have longer names waits for ever.
    """
    folder = environment.get("TMPDIR", "")
    if has_opt_ml and folder.startswith(f"{base}/"):
        return {**environment, "TMPDIR": f"{OPT_ML}{folder.removeprefix(base)}"}
    if len(os.fsencode(folder)) > LONGEST_FOLDER_OF_SOCKETS:
        return {name: value for name, value in environment.items() if name != "TMPDIR"}
    return environment


def take_opt_ml(base: str) -> None:
    """Make a folder /opt/ml, and the job's host a name of this machine, to this process and what it starts.

    Nothing changes for other processes. Raises OSError where that is not allowed, or not possible.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    leave_mounts()
    if OPT_ML.is_dir():
        mount(base, OPT_ML, MS_BIND | MS_REC)
    else:
        cover_opt(base)
    hosts = Path(base, "tmp", "hosts")
    if hosts.parent.is_dir() and HOSTS.is_file():
        hosts.write_text(HOSTS.read_text() + HOSTS_OF_THE_JOB)
        mount(str(hosts), HOSTS, MS_BIND)


def leave_mounts() -> None:
    """Give this process mounts of its own: as root, or in a user namespace in which it may mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        user, group = os.getuid(), os.getgid()
        check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    mount("none", Path("/"), MS_REC | MS_PRIVATE)


def cover_opt(base: str) -> None:
    """Cover /opt with a folder that holds what /opt holds, and ml."""
    entries = {entry.name: os.open(entry, os.O_PATH) for entry in OPT.iterdir()}
    ours = os.open(base, os.O_PATH)
    mount("tmpfs", OPT, 0, "tmpfs", "mode=755")
    for name, descriptor in entries.items():
        shown, source = OPT / name, f"/proc/self/fd/{descriptor}"
        shown.mkdir() if Path(source).is_dir() else shown.touch()
        mount(source, shown, MS_BIND | MS_REC)
        os.close(descriptor)
    OPT_ML.mkdir()
    mount(f"/proc/self/fd/{ours}", OPT_ML, MS_BIND | MS_REC)
    os.close(ours)


def mount(source: str, target: Path, flags: int, kind: str = "none", options: str = "") -> None:
    """Call mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.mount(source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()))


def check(result: int) -> None:
    """Raise the OSError of a call to the C library that failed."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def guard(child: int, afterwards: list[str]) -> None:
    """Start a shell that does this supervisor's last work should it be killed together with the server.

    It kills the child's process group, and runs what is to run afterwards.

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
            last_work = 'read _; kill -s KILL -- "-$0"; "$@"'
            os.execve("/bin/sh", ["sh", "-c", last_work, str(child), *afterwards], {})  # noqa: S606
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
                ask_to_end(child)
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


def ask_to_end(child: int) -> None:
    """Send SIGTERM to the child alone, as a container's process 1 gets it; what it has started is its own affair."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)


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
