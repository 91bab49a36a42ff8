"""Building and pushing a container image with Docker: the folder of an algorithm, and the engine of this machine."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

DOCKERFILE = "Dockerfile"
PLATFORM = "linux/amd64"
"""What SageMaker's machines run, but for those with Graviton processors."""
TAG_LENGTH = 16
LAST_LINES = 12

log = logging.getLogger(__name__)


class ImageBuildError(ValueError):
    """An image that cannot be built or pushed; the message says why and what to do."""


@dataclass(frozen=True)
class BuildFolder:
    """A folder with a Dockerfile. Version control and compiled Python do not belong to what is built from it."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> BuildFolder:
        """The folder; raises ImageBuildError if there is none, or no Dockerfile in it."""
        if not path.is_dir():
            raise ImageBuildError(f"{path} is not a folder: give the folder of the algorithm.")
        if not (path / DOCKERFILE).is_file():
            raise ImageBuildError(
                f"{path} has no file `{DOCKERFILE}`: add one, or give another folder. "
                "algorithms/container_template/ is a folder to start from."
            )
        return cls(path)

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield every file and link of the folder in the order of their names."""
        found = {path.relative_to(self.path).as_posix(): path for path in self.path.rglob("*")}
        for name in sorted(found):
            if _is_built(name) and (found[name].is_symlink() or found[name].is_file()):
                yield name, found[name]

    def tag(self) -> str:
        """A hash of the names, modes and contents of the files: another content has another tag."""
        digest = hashlib.sha256()
        for name, path in self.files():
            kind, content = _content(path)
            digest.update(f"{kind} {name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()[:TAG_LENGTH]

    def copy_to(self, target: Path) -> None:
        """Copy exactly the files that the tag is about."""
        for name, path in self.files():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy, follow_symlinks=False)


def _is_built(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not {".git", "__pycache__"} & {*parts} and not name.endswith(".pyc")


def _content(path: Path) -> tuple[str, bytes]:
    """The kind of a file (`link`, `file`, `program`) and its content."""
    if path.is_symlink():
        return "link", str(path.readlink()).encode()
    return "program" if os.access(path, os.X_OK) else "file", path.read_bytes()


@dataclass(frozen=True)
class Docker:
    """The Docker client of this machine; `folder` is its configuration, empty for the user's own."""

    program: str
    folder: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def find(cls) -> Docker:
        """The client, with an engine that answers it; raises ImageBuildError otherwise."""
        program = shutil.which("docker")
        if program is None:
            raise ImageBuildError(
                "Docker is not installed on this machine: install it, or publish from a machine that has it, with "
                "`python -m include.algorithms.publish FOLDER NAME`."
            )
        docker = cls(program)
        docker.run("version", what="ask the Docker engine for its version", quiet=True)
        return docker

    def build(self, folder: BuildFolder, image: str) -> None:
        """Build an image of a folder; raises ImageBuildError."""
        with tempfile.TemporaryDirectory(prefix="image-") as context:
            try:
                folder.copy_to(Path(context))
            except OSError as error:
                raise ImageBuildError(
                    f"{folder.path} cannot be copied to {context}: {error}. Free some space there, set TMPDIR to "
                    "another folder, or correct the file that it names."
                ) from error
            self.run("build", "--tag", image, context, what=f"build {folder.path}")
        platform = self.run("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image, what="inspect it")
        if platform != PLATFORM:
            log.warning(
                "The image is for %s. SageMaker's machines run %s, except those with Graviton processors. If this "
                "image is for the others, set DOCKER_DEFAULT_PLATFORM=%s.",
                platform,
                PLATFORM,
                PLATFORM,
            )

    def push(self, image: str) -> None:
        """Push an image that was built; raises ImageBuildError."""
        self.run("push", image, what=f"push {image}")

    @contextmanager
    def signed_in(self, registry: str, token: str) -> Iterator[Docker]:
        """The client signed in to a registry. The password stays in a folder of its own, which is removed then."""
        own = Path(self.environment.get("DOCKER_CONFIG") or Path.home() / ".docker")
        with tempfile.TemporaryDirectory(prefix="docker-") as folder:
            config = _json_object(own / "config.json")
            for keeper in ("credsStore", "credHelpers"):
                config.pop(keeper, None)
            config["auths"] = {registry: {"auth": token}}
            file = Path(folder, "config.json")
            file.touch(mode=0o600)
            file.write_text(json.dumps(config))
            for name in ("contexts", "cli-plugins"):
                if (own / name).is_dir():
                    Path(folder, name).symlink_to(own / name)
            yield Docker(self.program, folder, self.environment)

    def run(self, *words: str, what: str, quiet: bool = False) -> str:
        """Run a command of the client, its lines in the log, and return its last line; raises ImageBuildError."""
        command = [self.program, *(["--config", self.folder] if self.folder else []), *words]
        # Without it, BuildKit pushes an index of the image and its provenance, which SageMaker does not take.
        environment = {**self.environment, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        try:
            for line in process.stdout or ():
                if line.strip():
                    last.append(line.strip())
                    log.log(logging.DEBUG if quiet else logging.INFO, "%s", line.rstrip())
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code:
            raise ImageBuildError(f"Docker cannot {what}. {_remedy(last)}")
        return last[-1] if last else ""


def _json_object(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


REMEDIES = {
    "permission denied while trying to connect": (
        "This user may not use the Docker engine: add it to the group `docker`, or name another engine "
        "with DOCKER_HOST."
    ),
    "Cannot connect to the Docker daemon": (
        "No Docker engine answers: start it (`dockerd`, or Docker Desktop), or name another one with DOCKER_HOST."
    ),
    "no space left on device": (
        "The disk of the Docker engine is full: free some space, for example with `docker system prune`."
    ),
    "no basic auth credentials": "ECR does not accept the token: it is for another registry, or has expired.",
    "is not authorized to perform": (
        "ECR refuses the push: the identity needs the actions `PublishTrainingImages` of infrastructure/stack.yaml on "
        "this repository."
    ),
    "tag is immutable": "Another build of the same folder was pushed in the meantime: start the publication again.",
    "pull access denied": "The base image cannot be pulled: correct FROM in the Dockerfile, or run "
    "`docker login` first.",
}
"""What to do, by what Docker says; the longest words that fit are taken."""


def _remedy(lines: collections.deque[str]) -> str:
    said = " | ".join(lines)
    fitting = sorted((words for words in REMEDIES if words.lower() in said.lower()), key=len)
    return f"{REMEDIES[fitting[-1]] if fitting else ''} Docker said: {said or '(nothing)'}".strip()
