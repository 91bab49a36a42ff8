"""An image with this machine's Python and what it loads, for engines that can fetch no base image."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

LEFT_OUT = {"site-packages", "test", "__pycache__", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo"}


def import_python(name: str) -> None:
    """Give the engine an image of this name: Python's files at their places, and `/usr/bin/python3`."""
    program = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    files = {path for path in library.rglob("*") if path.is_file() and not LEFT_OUT & {*path.parts}}
    files |= {program, *loaded_by([program, *library.glob("lib-dynload/*.so")])}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(files):
            tar.add(path.resolve(), str(path), filter=readable)
        link = tarfile.TarInfo("usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(program)
        tar.addfile(link)
    subprocess.run(["docker", "import", "-", name], input=packed.getvalue(), check=True, stdout=subprocess.DEVNULL)


def loaded_by(programs: list[Path]) -> set[Path]:
    """The shared libraries that programs load, and the loader itself."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    return {path for path in map(Path, re.findall(r"(/\S+) \(0x", said)) if path.is_file()}


def readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode |= 0o555
    member.uid = member.gid = 0
    return member
