"""Makes the project's environments from a bare Python 3.11.

    environments.py setup | test-setup | bench-setup | lock

`setup` makes the two that the project runs in; `test-setup` also those of the SageMaker SDKs, clients in the tests;
`bench-setup` also that of the writers which `make bench-datasets` measures beside this project.

uv does the work and is installed here first, into .tools/uv, by the pip that every Python carries. An environment is
made anew only when one of its requirement files changed. Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
LOG = TOOLS / "setup.log"
UV_VERSION = "0.13.8"
UV = TOOLS / "uv" / "bin" / "uv"
NETWORK_SECONDS = 20

# What MXNet's wheel leaves to the system, by Debian package.
SYSTEM_LIBRARIES = {"libgomp.so.1": "libgomp1", "libquadmath.so.0": "libquadmath0"}

# How each pip setting is called in uv, which does not read pip's own configuration.
PIP_SETTINGS_IN_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


class SetupError(Exception):
    """A reason for which the environments cannot be made, in one line."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment and the pinned requirement files it holds."""

    path: Path
    requirements: tuple[Path, ...]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that says from which requirements the environment was made."""
        return self.path / ".made-from"

    def fingerprint(self) -> str:
        """A hash of everything the environment is made from."""
        digest = hashlib.sha256(f"{sys.version_info[:3]} {UV_VERSION} {self.path}\n".encode())
        for file in self.requirements:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def is_current(self) -> bool:
        """Whether the environment is there, runs, and was made from today's requirements."""
        return self.python.exists() and self.stamp.is_file() and self.stamp.read_text() == self.fingerprint()


CONTAINER = ROOT / "containers" / "image_classification"
ENVIRONMENTS = (
    Environment(
        ROOT / ".venv",
        (ROOT / "requirements.txt", ROOT / "local_aws" / "requirements.txt", ROOT / "requirements-dev.txt"),
    ),
    Environment(ROOT / ".venv-mxnet", (CONTAINER / "requirements.txt", CONTAINER / "requirements-test.txt")),
)
SDK_CLIENTS = ROOT / "tests" / "sdk_clients"
CLIENT_ENVIRONMENTS = (
    Environment(ROOT / ".venv-sdk-v2", (SDK_CLIENTS / "sdk_v2.txt",)),
    Environment(ROOT / ".venv-sdk-v3", (SDK_CLIENTS / "sdk_v3.txt",)),
)
# Not compiled by `lock`: its first lines say how, and why.
PEER_ENVIRONMENT = Environment(ROOT / ".venv-peers", (ROOT / "benchmarks" / "requirements.txt",))
# In the order in which they constrain each other.
SOURCES = (
    ROOT / "requirements.in",
    ROOT / "local_aws" / "requirements.in",
    ROOT / "requirements-dev.in",
    CONTAINER / "requirements.in",
    CONTAINER / "requirements-test.in",
    SDK_CLIENTS / "sdk_v2.in",
    SDK_CLIENTS / "sdk_v3.in",
)


def main(arguments: list[str]) -> int:
    """Make the environments or compile the requirement files, one process at a time."""
    TOOLS.mkdir(exist_ok=True)
    try:
        with (TOOLS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            commands = {
                "setup": setup,
                "test-setup": test_setup,
                "bench-setup": bench_setup,
                "lock": compile_requirements,
            }
            commands[arguments[0]]()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the next make goes on from here.", file=sys.stderr)
        return 130
    return 0


def setup() -> None:
    """Make what the project runs in."""
    make_stale(ENVIRONMENTS)


def test_setup() -> None:
    """Make what the tests run in: the project's environments and those of its clients."""
    make_stale(ENVIRONMENTS + CLIENT_ENVIRONMENTS)


def bench_setup() -> None:
    """Make what the benchmarks run in; without the peers' environment their rows say so, and the others run."""
    make_stale(ENVIRONMENTS)
    try:
        make_stale((PEER_ENVIRONMENT,))
    except SetupError as error:
        print(f"Without the peers' environment: {error}", file=sys.stderr)


def make_stale(environments: tuple[Environment, ...]) -> None:
    """Make the environments that are missing or out of date."""
    stale = [environment for environment in environments if not environment.is_current()]
    if not stale:
        return
    require_system_libraries()
    install_uv()
    for environment in stale:
        make(environment)


def compile_requirements() -> None:
    """Compile each requirements.in to a requirements.txt beside it, every version pinned."""
    install_uv()
    for source in SOURCES:
        command = ["pip", "compile", "-q", "--python-version", "3.11", "--no-header", "--no-annotate", "--upgrade"]
        run_uv(
            [*command, source.name, "-o", f"{source.stem}.txt"], f"Compiling {source.relative_to(ROOT)}", source.parent
        )


def require_system_libraries() -> None:
    """Check the system libraries that MXNet needs and no wheel carries."""
    missing = {library: package for library, package in SYSTEM_LIBRARIES.items() if not loads(library)}
    if missing:
        packages = " ".join(missing.values())
        raise SetupError(
            f"MXNet needs the system libraries {', '.join(missing)}: install them "
            f"(Debian, Ubuntu: apt-get install {packages})."
        )


def loads(library: str) -> bool:
    """Whether the system has a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def install_uv() -> None:
    """Install the pinned uv into .tools/uv."""
    folder = UV.parent.parent
    stamp = folder / ".made-from"
    wanted = f"uv {UV_VERSION}, Python {sys.version_info[:3]}"
    if UV.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    run(
        [sys.executable, "-m", "venv", str(folder)],
        "Making an environment for uv",
        otherwise="This Python cannot make virtual environments (Debian, Ubuntu: apt-get install python3-venv).",
    )
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--timeout", str(NETWORK_SECONDS), "--retries", "1", f"uv=={UV_VERSION}"], f"Installing uv {UV_VERSION}")
    stamp.write_text(wanted)


def make(environment: Environment) -> None:
    """Make or update one environment; its stamp is written last."""
    name = environment.path.name
    environment.stamp.unlink(missing_ok=True)
    if not environment.python.exists():
        run_uv(["venv", "-q", "--clear", "--python", sys.executable, str(environment.path)], f"Making {name}")
    files = [argument for file in environment.requirements for argument in ("-r", str(file))]
    started = time.monotonic()
    run_uv(["pip", "sync", "-q", "--python", str(environment.python), *files[1::2]], f"Installing into {name}")
    environment.stamp.write_text(environment.fingerprint())
    print(f"{name} is ready ({time.monotonic() - started:.0f} s).", flush=True)


def run_uv(arguments: list[str], title: str, folder: Path = ROOT) -> None:
    """Run uv with the package index that pip is configured with."""
    run([str(UV), *arguments], title, folder=folder, environment={**os.environ, **uv_settings()})


def uv_settings() -> dict[str, str]:
    """uv's variables: short time-outs, and pip's index settings where uv has none of its own."""
    settings = {"UV_HTTP_TIMEOUT": str(NETWORK_SECONDS), "UV_HTTP_RETRIES": "2", "UV_NO_PROGRESS": "1"}
    pip = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    for line in pip.stdout.splitlines():
        name, _, value = line.partition("=")
        setting = PIP_SETTINGS_IN_UV.get(name.rpartition(".")[2])
        if setting:
            words = value.strip("'\"").replace("\\n", " ").split()
            settings[setting] = ("," if setting == "UV_FIND_LINKS" else " ").join(words)
    if "UV_INDEX" in settings:  # pip trusts its indexes alike; uv would stop at the first that knows a name
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in settings.items() if name not in os.environ}


def run(
    command: list[str],
    title: str,
    *,
    folder: Path = ROOT,
    environment: dict[str, str] | None = None,
    otherwise: str | None = None,
) -> None:
    """Run a command with its output in the log; a failure becomes one line."""
    print(f"{title} ...", flush=True)
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    output = ended.stdout + ended.stderr
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n{output}\n")
    if ended.returncode:
        raise SetupError(
            otherwise or f"{title} failed: {reason(output)} The whole output is in {LOG.relative_to(ROOT)}."
        )


def reason(output: str) -> str:
    """Say in a sentence why an installation failed."""
    signs = ("Temporary failure in name resolution", "dns error", "Failed to establish a new connection", "timed out")
    more = ("error sending request", "Connection refused", "Network is unreachable", "Could not connect", "ProxyError")
    if any(sign.lower() in output.lower() for sign in signs + more):
        return "the package index cannot be reached: check the network, or pip's index settings."
    if "No space left on device" in output:
        return "the disk is full."
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if not line.startswith(("hint:", "WARNING", "warning:"))]
    return f"{errors[-1].rstrip('.') if errors else 'no output'}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
