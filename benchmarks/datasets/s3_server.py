"""One fast S3 server on loopback: nginx serves objects from disk, a small application does the rest.

It listens on two ports over the same buckets: one answers at once, the other lets every request wait first, as a
network would.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from benchmarks.datasets.turns import BenchmarkError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LATENCY_SECONDS = 0.020
START_SECONDS = 60
MODULES = Path("/usr/lib/nginx/modules")
PACKAGES = "apt-get install nginx-light libnginx-mod-http-lua"

CONFIGURATION = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
user {user};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    log_format traffic '$server_port $request_method $status $bytes_sent $request_length $request_uri';
    access_log {folder}/access.log traffic;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    default_type binary/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    upstream application {{ server unix:{socket}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{fast_port};
        include {folder}/s3.conf;
    }}
    server {{
        listen 127.0.0.1:{slow_port};
        set $waited 0;
        rewrite_by_lua_block {{ if ngx.var.waited == "0" then ngx.var.waited = "1"; ngx.sleep({latency}) end }}
        include {folder}/s3.conf;
    }}
}}
"""

SERVER = """
root {buckets};
location / {{
    error_page 404 = @application;
    error_page 418 = @application;
    if ($request_method !~ ^(GET|HEAD)$) {{ return 418; }}
    if ($args) {{ return 418; }}
}}
location @application {{
    proxy_pass http://application;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_request_buffering off;
    proxy_buffering off;
}}
"""


@dataclass(frozen=True)
class Traffic:
    """What clients asked for since some moment."""

    requests: int
    sent: int
    """Bytes that the server sent, headers too."""
    received: int


class S3Server:
    """A running server; its buckets are the folders in `buckets`."""

    def __init__(self, folder: Path, fast_port: int, slow_port: int) -> None:
        self._log = folder / "access.log"
        self.fast = f"http://127.0.0.1:{fast_port}"
        self.slow = f"http://127.0.0.1:{slow_port}"

    def mark(self) -> int:
        """The present end of the log, to count from."""
        return self._log.stat().st_size

    def traffic(self, mark: int) -> Traffic:
        """Count what was asked for since a mark."""
        with self._log.open("rb") as log:
            log.seek(mark)
            rows = [line.split(b" ", 5) for line in log]
        return Traffic(len(rows), sum(int(row[3]) for row in rows), sum(int(row[4]) for row in rows))


def s3_client(endpoint: str) -> S3Client:
    """Make a boto3 client of a server of ours, with the settings of a default client."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="benchmark",
        aws_secret_access_key="benchmark",  # noqa: S106 - any will do
        config=Config(s3={"addressing_style": "path"}),
    )


@contextmanager
def running_s3(buckets: Path) -> Iterator[S3Server]:
    """Serve the folders in `buckets` until the block ends. Raises BenchmarkError where nginx is missing or stops."""
    nginx = _nginx()
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as name:
        folder = Path(name)
        ports = _free_ports()
        socket_path = folder / "application.sock"
        _write_configuration(folder, buckets, socket_path, ports)
        server = S3Server(folder, *ports)
        application = [sys.executable, "-m", "benchmarks.datasets.s3_application", str(buckets), str(socket_path)]
        with (
            _process(application, folder / "application.log") as first,
            _process([nginx, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")], folder / "nginx.log"),
        ):
            _wait_until_ready(server, first, folder)
            yield server


def _nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None or not (MODULES / "ngx_http_lua_module.so").exists():
        raise BenchmarkError(f"nginx with its Lua module is needed as the fast S3 server (Debian, Ubuntu: {PACKAGES})")
    return found


def _write_configuration(folder: Path, buckets: Path, socket_path: Path, ports: tuple[int, int]) -> None:
    (folder / "s3.conf").write_text(SERVER.format(buckets=buckets))
    text = CONFIGURATION.format(
        modules=MODULES,
        user=buckets.owner(),
        folder=folder,
        socket=socket_path,
        fast_port=ports[0],
        slow_port=ports[1],
        latency=LATENCY_SECONDS,
    )
    (folder / "nginx.conf").write_text(text)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(server: S3Server, application: subprocess.Popen[bytes], folder: Path) -> None:
    client = s3_client(server.fast)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and application.poll() is None:
        with suppress(Exception):
            client.list_objects_v2(Bucket="data", MaxKeys=1)
            return
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")) if path.stat().st_size)
    raise BenchmarkError(f"the S3 server did not start:\n{logs}")
