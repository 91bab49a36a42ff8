"""Which machine and which libraries the figures belong to."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks.datasets.turns import ROOT, BenchmarkError

MXNET = ROOT / ".venv-mxnet" / "bin" / "python"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
BEST_FOR_IM2REC = {"opencv": "4.11.0", "numpy": "1.23.5", "mxnet": "1.9.1"}


def describe() -> str:
    """Name CPU, cores, memory and the libraries of both sides, in two lines."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    kilobytes = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    ours = ", ".join(f"{name} {version(name)}" for name in ("opencv-python-headless", "numpy", "obstore", "boto3"))
    theirs = ", ".join(f"{name} {found}" for name, found in im2rec_libraries().items())
    return (
        f"{os.cpu_count()} cores {platform.machine()} ({model}), {kilobytes / 2**20:.0f} GiB, Python "
        f"{platform.python_version()}.\nOurs: {ours}. im2rec.py: {theirs}. Others: {_peer_versions()}."
    )


def im2rec_libraries() -> dict[str, str]:
    """The versions in im2rec's environment. Raises BenchmarkError if they are not its best ones."""
    words = "import cv2, numpy, mxnet; print(cv2.__version__, numpy.__version__, mxnet.__version__)"
    ended = subprocess.run([MXNET, "-c", words], capture_output=True, text=True, check=False)
    found = dict(zip(BEST_FOR_IM2REC, ended.stdout.split(), strict=False))
    if found != BEST_FOR_IM2REC:
        raise BenchmarkError(
            f"im2rec.py is to be measured with {BEST_FOR_IM2REC}, but {MXNET} has {found or ended.stderr}: make setup"
        )
    return found


def im2rec() -> list[str | Path]:
    """The command of MXNet's im2rec.py."""
    tools = next(MXNET.parents[1].glob("lib/python*/site-packages/mxnet/tools/im2rec.py"))
    return [MXNET, tools]


def _peer_versions() -> str:
    if not PEERS.exists():
        return "not installed"
    names = ("webdataset", "mosaicml-streaming", "img2dataset", "opencv-python-headless")
    words = f"from importlib.metadata import version as v; print(', '.join(f'{{n}} {{v(n)}}' for n in {names}))"
    ended = subprocess.run([PEERS, "-c", words], capture_output=True, text=True, check=False)
    return ended.stdout.strip() or "not installed whole"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
