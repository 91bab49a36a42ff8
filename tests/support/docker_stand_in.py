"""A program `docker` for machines without an engine: `build` keeps its context, `push` sends that to the registry.

It is no container engine. It stands where a test is about what is asked of Docker and what becomes of the answer.
`DOCKER_STAND_IN_FAILS` names a verb and what Docker would say: `push denied: ...`.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

from tests.support.registry_client import RegistryClient

ROOT = Path(__file__).resolve().parents[2]


def install(folder: Path) -> Path:
    """Write the program into a folder that goes onto PATH; `calls` beside it gets a line for each call."""
    program = folder / "docker"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support.docker_stand_in import main\nmain(sys.argv[1:])\n"
    )
    program.chmod(0o755)
    (folder / "calls").touch()
    return program


def main(words: list[str]) -> None:
    here = Path(sys.argv[0]).parent
    config = Path(words[1]) if words[0] == "--config" else None
    verb, *rest = words[2:] if config else words
    with (here / "calls").open("a") as calls:
        calls.write(f"{verb}\n")
    failing, _, said = os.environ.get("DOCKER_STAND_IN_FAILS", "").partition(" ")
    if failing == verb:
        sys.exit(said)
    if verb == "build":
        with tarfile.open(here / "context.tar", "w") as context:
            context.add(rest[-1], "")
        sys.stdout.write("Successfully built\n")
    elif verb == "image":
        sys.stdout.write("linux/amd64\n")
    elif verb == "push":
        assert config is not None
        uri, _, tag = rest[0].rpartition(":")
        token = json.loads((config / "config.json").read_text())["auths"][uri.partition("/")[0]]["auth"]
        answer, _ = RegistryClient(uri, token).push_image((here / "context.tar").read_bytes(), tag)
        if answer.status != 201:
            sys.exit(answer.body.decode())
