"""Makes the project's environments from a bare Python 3.11.

    environments.py setup | test-setup | python-setup | pytorch | sagemaker | mwaa-setup | bench-setup | lock

`setup` makes the two that the project runs in; `test-setup` also those of the SageMaker SDKs, clients in the tests, and
of AWS's PyTorch images; `sagemaker` (the SDK v3) and `pytorch` make one of these alone. `python-setup` makes Airflow's
environment for the other Pythons that it runs on, `mwaa-setup` under the constraints of MWAA. `bench-setup` makes also
that of the writers which `make bench-datasets` measures beside this project. `lock` compiles the requirement files.

uv does the work and is installed here first, into .tools/uv, by the pip that every Python carries. An environment is
made again only when one of its requirement files changed. Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
LOG = TOOLS / "setup.log"
UV_VERSION = "0.13.8"
UV = TOOLS / "uv" / "bin" / "uv"
NETWORK_SECONDS = 20
LOWEST_PYTHON = "3.11"

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
    """A virtual environment, the pinned requirement files it holds, and its Python."""

    path: Path
    requirements: tuple[Path, ...]
    version: str = LOWEST_PYTHON
    torch: str = ""
    """The version of PyTorch that it holds too, if any."""

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
        made_with = sys.version_info[:3] if self.version == LOWEST_PYTHON else self.version
        digest = hashlib.sha256(f"{made_with} {UV_VERSION} {self.path} {self.torch}".rstrip().encode() + b"\n")
        for file in self.requirements:
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def is_current(self) -> bool:
        """Whether the environment is there, runs, and was made from today's requirements."""
        return self.python.exists() and self.stamp.is_file() and self.stamp.read_text() == self.fingerprint()


CONTAINER = ROOT / "containers" / "image_classification"
TEMPLATE = ROOT / "algorithms" / "container_template"
SDK_CLIENTS = ROOT / "tests" / "sdk_clients"
AIRFLOW = (ROOT / "requirements.txt", ROOT / "local_aws" / "requirements.txt", ROOT / "requirements-local.txt")
ENVIRONMENTS = (
    Environment(ROOT / ".venv", AIRFLOW),
    Environment(ROOT / ".venv-mxnet", (CONTAINER / "requirements.txt", CONTAINER / "requirements-test.txt")),
)
SAGEMAKER_ENVIRONMENT = Environment(ROOT / ".venv-sagemaker", (ROOT / "requirements-sagemaker.txt",))
CLIENT_ENVIRONMENTS = (Environment(ROOT / ".venv-sdk-v2", (SDK_CLIENTS / "sdk_v2.txt",)), SAGEMAKER_ENVIRONMENT)
PYTORCH_ENVIRONMENT = Environment(ROOT / ".venv-pytorch", (ROOT / "requirements-pytorch.txt",), torch="2.13.0")
TEST_ENVIRONMENTS = (*ENVIRONMENTS, *CLIENT_ENVIRONMENTS, PYTORCH_ENVIRONMENT)
PYTHON_ENVIRONMENTS = tuple(
    Environment(ROOT / f".venv-{version}", AIRFLOW, version=version) for version in ("3.12", "3.13")
)
# Not compiled by `lock`: its first lines say how, and why.
PEER_ENVIRONMENT = Environment(ROOT / ".venv-peers", (ROOT / "benchmarks" / "requirements.txt",))

# MWAA's newest Airflow, and its Python.
MWAA = ROOT / ".venv-mwaa"
MWAA_AIRFLOW = "3.3.1"
MWAA_PYTHON = "3.12"
MWAA_TESTS = ("pytest", "pytest-asyncio", "pytest-socket", "pytest-timeout", "pytest-xdist")

# The constraints of `lock`; CONSTRAINTS names another file or address.
CONSTRAINTS = "https://raw.githubusercontent.com/apache/airflow/constraints-3.3.2/constraints-3.12.txt"
# Where this project is ahead of Airflow's constraints: what requirements.in names, and what the newest of that needs.
AHEAD = {
    *("apache-airflow-providers-amazon", "boto3"),
    *("apache-airflow-providers-common-compat", "aiobotocore", "botocore", "s3transfer"),
}
# Published for Python 3.12, the constraints name versions of these that have no wheels for Python 3.11.
FROM_3_12 = {"numpy", "scipy"}


@dataclass(frozen=True)
class Lock:
    """A requirements.in, compiled to a requirements.txt beside it."""

    source: Path
    under_constraints: bool = False
    every_python: bool = True
    """Whether it holds for every Python from 3.11 on, or for 3.11 alone."""

    def command(self, constraints: Path) -> list[str]:
        """uv's arguments."""
        pythons = ["--universal"] if self.every_python else []
        limits = ["--constraint", str(constraints)] if self.under_constraints else []
        compile_ = ["pip", "compile", "-q", "--python-version", LOWEST_PYTHON, *pythons, *limits]
        written = ["--no-header", "--no-annotate", "--generate-hashes", "--upgrade", "-o", f"{self.source.stem}.txt"]
        return [*compile_, self.source.name, *written]


# In the order in which they constrain each other.
LOCKS = (
    Lock(ROOT / "requirements.in", under_constraints=True),
    Lock(ROOT / "requirements-compose.in", under_constraints=True),
    Lock(ROOT / "local_aws" / "requirements.in"),
    Lock(ROOT / "requirements-local.in"),
    Lock(ROOT / "requirements-sagemaker.in"),
    Lock(TEMPLATE / "requirements.in", every_python=False),
    Lock(ROOT / "requirements-pytorch.in", every_python=False),
    Lock(CONTAINER / "requirements.in", every_python=False),
    Lock(CONTAINER / "requirements-test.in", every_python=False),
    Lock(SDK_CLIENTS / "sdk_v2.in", every_python=False),
)


def main(arguments: list[str]) -> int:
    """Make the environments or compile the requirement files, one process at a time."""
    TOOLS.mkdir(exist_ok=True)
    try:
        with (TOOLS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            commands = {
                "setup": lambda: make_stale(ENVIRONMENTS),
                "test-setup": lambda: make_stale(TEST_ENVIRONMENTS),
                "python-setup": lambda: make_stale(PYTHON_ENVIRONMENTS),
                "pytorch": lambda: make_stale((PYTORCH_ENVIRONMENT,)),
                "sagemaker": lambda: make_stale((SAGEMAKER_ENVIRONMENT,)),
                "mwaa-setup": mwaa_setup,
                "bench-setup": bench_setup,
                "lock": compile_requirements,
            }
            commands[arguments[0]]()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the next make continues from here.", file=sys.stderr)
        return 130
    return 0


def bench_setup() -> None:
    """Make what the benchmarks run in; without the peers' environment their rows say so, and the others run."""
    make_stale(ENVIRONMENTS)
    try:
        make_stale((PEER_ENVIRONMENT,))
    except SetupError as error:
        print(f"Without the peers' environment: {error}", file=sys.stderr)


def mwaa_setup() -> None:
    """Make an environment of the core requirements as MWAA installs them: under its constraints, with its Airflow."""
    if "CONSTRAINTS" not in os.environ:
        raise SetupError(
            "MWAA's constraints are needed: download images/airflow/VERSION/etc/airflow_constraints.txt of "
            "github.com/aws/amazon-mwaa-docker-images, and name it: make test-mwaa CONSTRAINTS=FILE"
        )
    constraints = TOOLS / "mwaa-constraints.txt"
    constraints.write_text(read_constraints())
    install_uv()
    run_uv(["venv", "-q", "--clear", "--python", interpreter(MWAA_PYTHON), str(MWAA)], f"Making {MWAA.name}")
    core = [f"apache-airflow=={MWAA_AIRFLOW}", "-r", "requirements.in", *MWAA_TESTS]
    run_uv(
        ["pip", "install", "-q", "--python", str(MWAA / "bin" / "python"), "-c", str(constraints), *core],
        f"Installing the core requirements under MWAA's constraints into {MWAA.name}",
    )


def make_stale(environments: tuple[Environment, ...]) -> None:
    """Make the environments that are missing or out of date."""
    stale = [environment for environment in environments if not environment.is_current()]
    if not stale:
        return
    if any(environment.path.name == ".venv-mxnet" for environment in stale):
        require_system_libraries()
    if any(environment.torch for environment in stale):
        require_compiler()
    install_uv()
    for environment in stale:
        make(environment)


def compile_requirements() -> None:
    """Compile each requirements.in to a requirements.txt beside it, every version pinned with its hashes.

    From the package index alone: wheels of this machine's own would lack those of other Pythons.
    """
    constraints = TOOLS / "constraints.txt"
    constraints.write_text("".join(f"{line}\n" for line in as_far_as_they_reach(read_constraints())))
    install_uv()
    for lock in LOCKS:
        title = f"Compiling {lock.source.relative_to(ROOT)}"
        run_uv(lock.command(constraints), title, lock.source.parent, UV_INDEX="", UV_FIND_LINKS="")


def read_constraints() -> str:
    """Airflow's published constraints, or those that CONSTRAINTS names."""
    place = os.environ.get("CONSTRAINTS") or CONSTRAINTS
    try:
        if place.startswith("https://"):
            with urlopen(place, timeout=NETWORK_SECONDS) as answer:  # noqa: S310  (https, as the line above says)
                return str(answer.read().decode())
        return Path(place).read_text()
    except (OSError, ValueError) as error:
        raise SetupError(
            f"The constraints at {place} cannot be read ({error}): name a copy with CONSTRAINTS=FILE."
        ) from error


def as_far_as_they_reach(constraints: str) -> Iterator[str]:
    """The constraints without those that this project is ahead of."""
    for line in constraints.splitlines():
        name = re.sub(r"[-_.]+", "-", line.partition("==")[0].strip()).lower()
        if name in FROM_3_12:
            yield f"{line.strip()} ; python_version >= '3.12'"
        elif name not in AHEAD:
            yield line


def require_system_libraries() -> None:
    """Check the system libraries that MXNet needs and no wheel carries."""
    missing = {library: package for library, package in SYSTEM_LIBRARIES.items() if not loads(library)}
    if missing:
        packages = " ".join(missing.values())
        raise SetupError(
            f"MXNet needs the system libraries {', '.join(missing)}: install them "
            f"(Debian, Ubuntu: apt-get install {packages})."
        )


def require_compiler() -> None:
    """Check the C compiler that `sagemaker-training` needs, which is published as source alone."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not shutil.which("cc") or not headers.exists():
        raise SetupError(
            "sagemaker-training is compiled when it is installed: install a C compiler and the headers of this Python "
            "(Debian, Ubuntu: apt-get install gcc libc6-dev python3-dev)."
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
        python = interpreter(environment.version)
        run_uv(["venv", "-q", "--clear", "--python", python, str(environment.path)], f"Making {name}")
    files = [argument for file in environment.requirements for argument in ("-r", str(file))]
    started = time.monotonic()
    run_uv(["pip", "sync", "-q", "--python", str(environment.python), *files[1::2]], f"Installing into {name}")
    if environment.torch:
        install_torch(environment)
    environment.stamp.write_text(environment.fingerprint())
    print(f"{name} is ready ({time.monotonic() - started:.0f} s).", flush=True)


def install_torch(environment: Environment) -> None:
    """Install PyTorch with pip, which takes a build from this machine's disk where it is configured to; uv does not.

    TORCH_INDEX names an index to take it from, such as one of CPU builds.
    """
    pip = [str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    index = os.environ.get("TORCH_INDEX", "")
    pip += [
        "--timeout",
        str(NETWORK_SECONDS),
        *(["--index-url", index] if index else []),
        f"torch=={environment.torch}",
    ]
    report = TOOLS / "torch.json"
    run([*pip, "--quiet", "--dry-run", "--no-deps", "--report", str(report)], "Looking for PyTorch")
    run([*pip, "--quiet"], f"Installing {torch_build(report)} into {environment.path.name}")


def torch_build(report: Path) -> str:
    """Say which build of PyTorch pip chose, from its report, and what a download of it means."""
    installed = json.loads(report.read_text())["install"]
    if not installed:
        return "PyTorch, which is there already,"
    (chosen,) = installed
    version, address = chosen["metadata"]["version"], chosen["download_info"]["url"]
    if address.startswith("file:"):
        return f"PyTorch {version} from this machine's disk"
    libraries = [need for need in chosen["metadata"].get("requires_dist", ()) if need.startswith(("nvidia", "cuda"))]
    if not any(applies_here(need) for need in libraries):
        return f"PyTorch {version} for the CPU, a download of about 200 MB,"
    return (
        f"PyTorch {version} for CUDA, a download of several GB (a CPU build suffices: TORCH_INDEX=ADDRESS names an "
        "index of them),"
    )


def applies_here(requirement: str) -> bool:
    """Whether a wheel's requirement on CUDA's libraries is one of this machine."""
    marker = requirement.partition(";")[2]
    machines = ("x86_64", "aarch64")
    named = [machine for machine in machines if machine in marker]
    return sys.platform == "linux" and (not named or os.uname().machine in named)


def interpreter(version: str) -> str:
    """The path of a Python of this version: the one that runs this, one on PATH, or one of pyenv's."""
    if version == LOWEST_PYTHON:
        return sys.executable
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [*(Path(folder) for folder in os.get_exec_path()), *sorted(pyenv.glob(f"{version}.*/bin"), reverse=True)]
    for candidate in (folder / name for folder in folders):
        # One of pyenv's shims is there for every version, and fails for all but the chosen one.
        if (
            candidate.exists()
            and not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode
        ):
            return str(candidate)
    raise SetupError(f"Python {version} is needed, and no {name} is on PATH or among pyenv's: install it.")


def run_uv(arguments: list[str], title: str, folder: Path = ROOT, **settings: str) -> None:
    """Run uv with the package index that pip is configured with; `settings` are variables that come before those."""
    run([str(UV), *arguments], title, folder=folder, environment={**os.environ, **uv_settings(), **settings})


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
