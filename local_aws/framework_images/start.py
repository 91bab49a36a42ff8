"""Starts a command as AWS's PyTorch images do: `.venv-pytorch/bin/python -I start.py train`, `serve` or any other.

The command gets a Python environment of the container's own, which sees everything of `.venv-pytorch`. What it installs
from a requirements.txt goes there, and is removed together with the container's folder. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = {"train": HERE / "train.py", "serve": HERE / "serve.py"}
HOST = "algo-1"
OPT_ML = Path("/opt/ml")


def main(words: list[str]) -> None:
    """Become the command, in the environment of the image."""
    base = Path(os.environ["SAGEMAKER_BASE_DIR"])
    if OPT_ML.exists() and OPT_ML.samefile(base):
        base = OPT_ML
    folder = base / "environment"
    if not folder.exists():
        make_environment(folder)
    os.environ.update({"SAGEMAKER_BASE_DIR": str(base), **variables(folder)})
    standing_in = f"PyTorch {version('torch')} on Python {sys.version.split()[0]}"
    sys.stdout.write(f"{standing_in} stands for this image, whatever its tag says\n")
    sys.stdout.flush()
    if words[0] in PROGRAMS and len(words) == 1:
        words = [str(folder / "bin" / "python"), "-P", str(PROGRAMS[words[0]])]
    try:
        os.execvp(words[0], words)  # noqa: S606
    except OSError as error:
        sys.exit(f"{words[0]} could not be started: {error.strerror}")


def make_environment(folder: Path) -> None:
    """Make a virtual environment over the one that runs this: with its packages, and its scripts."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    packages = part / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    scripts = part / "bin"
    for made in (packages, scripts):
        made.mkdir(parents=True)
    (packages / "image.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", part / "pyvenv.cfg")
    (scripts / "python").symlink_to(os.path.realpath(sys.executable))
    for name in ("python3", f"python{sysconfig.get_python_version()}"):
        (scripts / name).symlink_to("python")
    line = f"#!{sys.prefix}/bin/python"
    for script in Path(sys.prefix, "bin").iterdir():
        if script.is_file() and not script.is_symlink() and script.read_bytes().startswith(line.encode()):
            copy = scripts / script.name
            first, _, rest = script.read_text().partition("\n")
            copy.write_text(first.replace(line, f"#!{folder}/bin/python") + "\n" + rest)
            copy.chmod(0o755)
    part.rename(folder)


def variables(folder: Path) -> dict[str, str]:
    """What the image's definition sets, and what a process needs if it is not alone on its machine."""
    added = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    if "OMP_NUM_THREADS" not in os.environ and "SM_NUM_CPUS" in os.environ:
        added["OMP_NUM_THREADS"] = os.environ["SM_NUM_CPUS"]
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        # Threads of libgomp that spin for each other starve on a machine with other work: they shall sleep soon.
        added["GOMP_SPINCOUNT"] = "2000"
    if "AWS_ENDPOINT_URL" not in os.environ:
        added["PIP_NO_INDEX"] = "1"  # network isolation
    try:
        socket.gethostbyname(HOST)
    except OSError:
        added["SM_STUDIO_LOCAL_MODE"] = "true"  # the toolkit's own word for a host that nobody can look up
    return added


if __name__ == "__main__":
    main(sys.argv[1:])
