"""The command `python -m local_aws`: an AWS on this machine, on one port, until it is asked to end."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from local_aws.account import Server
from local_aws.container_images import IMAGES_VARIABLE, ContainerImages, ImageMappingError, parse_mappings
from local_aws.docker_engine import DockerEngine, EngineError
from local_aws.job_slots import JobSlots
from local_aws.server import LocalAws, listen, wsgi_server

DEFAULT_PORT = 4566


class CannotStart(Exception):
    """What is wrong on the command line, for the person who typed it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code: 0, or 2 for what was wrong on the command line."""
    options = _parser().parse_args(arguments)
    os.umask(0o077)  # buckets, models and logs are for nobody else on the machine
    try:
        mappings = parse_mappings(options.image)
        listener = _listen(options.host, options.port)
        images = ContainerImages(mappings, engine=_engine(listener) if options.docker else None)
        state_dir = _state_directory(options.state_dir)
    except (CannotStart, EngineError, ImageMappingError) as error:
        sys.stderr.write(f"local AWS: {error}\n")
        return 2
    _forget_other_clients()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = listener.getsockname()[:2]
    tempfile.tempdir = str(_objects_directory(state_dir))
    os.environ["MOTO_PORT"] = str(port)
    server = Server(
        endpoint_url=f"http://{_loopback(host)}:{port}",
        state_dir=state_dir,
        slots=JobSlots(options.jobs),
        images=images,
        names=(options.host, *options.allow_host),
    )
    application = LocalAws(server)
    try:
        _serve(application, listener, server)
    finally:
        application.close()
        if options.state_dir is None:
            shutil.rmtree(state_dir, ignore_errors=True)
    return 0


def _serve(application: LocalAws, listener: socket.socket, server: Server) -> None:
    told_to_end = _signals()
    http = wsgi_server(listener, application)
    # The interval is how long an end waits for the thread.
    threading.Thread(target=http.serve_forever, args=(0.05,), name="http", daemon=True).start()
    sys.stdout.write(f"local AWS ready at {server.endpoint_url} (state in {server.state_dir})\n")
    sys.stdout.flush()
    os.read(told_to_end, 1)
    http.shutdown()
    http.server_close()
    listener.close()


def _signals() -> int:
    """A pipe in which a byte arrives with the first signal to end, whichever thread the kernel gives it to.

    Python runs handlers in the main thread only, which does not wake from waiting for a lock when another thread took
    the signal, as one does that is just being started.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_aws", description="An AWS on this machine, on one port.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer requests to this host too, beside localhost and loopback addresses; may be repeated",
    )
    parser.add_argument(
        "--state-dir", type=Path, help="where jobs, endpoints and large objects live (default: temporary)"
    )
    parser.add_argument("--jobs", type=_positive, default=2, help="training jobs at once (default: %(default)s)")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="REPOSITORY=COMMAND",
        help=f"run the images of a repository as COMMAND train|serve; may be repeated (also {IMAGES_VARIABLE}, by ;)",
    )
    parser.add_argument(
        "--docker",
        action="store_true",
        help="run containers with Docker where its engine has their image, or this server's ECR",
    )
    return parser


def _forget_other_clients() -> None:
    """Drop what the environment says to AWS clients: profiles, endpoints, bundles and proxies of somebody else.

    The server's own clients talk to the server alone.
    """
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotStart(
            f"cannot listen on {host}:{port}: {reason}; choose another with --port (0: a free one)"
        ) from error


def _state_directory(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="local-aws-"))
    try:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"cannot keep state in {given}: {error.strerror}; choose another --state-dir") from error
    return given.resolve()


def _engine(listener: socket.socket) -> DockerEngine:
    host, port = listener.getsockname()[:2]
    return DockerEngine.find(f"{_loopback(host)}:{port}")


def _objects_directory(state_dir: Path) -> Path:
    """Where moto's large objects lie, as temporary files; jobs have folders of their own."""
    folder = state_dir / "objects"
    folder.mkdir(exist_ok=True)
    return folder


def _loopback(host: str) -> str:
    """The host by which this machine reaches an address it listens on."""
    if host in ("0.0.0.0", ""):  # noqa: S104
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
