"""Which command stands for a container image on this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from local_aws.aws_errors import validation_error

IMAGES_VARIABLE = "LOCAL_AWS_IMAGES"
ROOT = Path(__file__).resolve().parent.parent


class ImageMappingError(ValueError):
    """A `REPOSITORY=COMMAND` that cannot be read."""


def built_in_images(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the commands of the images that come with this project, by repository name."""
    python = root / ".venv-mxnet" / "bin" / "python"
    return {"image-classification": [str(python), "-m", "containers.image_classification"]}


def parse_mappings(mappings: Iterable[str], environment: Mapping[str, str] = os.environ) -> dict[str, list[str]]:
    """Read `REPOSITORY=COMMAND` from the command line and, separated by `;`, from LOCAL_AWS_IMAGES; the first wins.

    Raises ImageMappingError for one that lacks a part.
    """
    commands: dict[str, list[str]] = {}
    for mapping in (*environment.get(IMAGES_VARIABLE, "").split(";"), *mappings):
        if not mapping.strip():
            continue
        repository, _, command = mapping.partition("=")
        if not repository.strip() or not command.strip():
            raise ImageMappingError(f"image mapping {mapping!r} is not REPOSITORY=COMMAND")
        commands[repository.strip()] = shlex.split(command)
    return commands


class ContainerImages:
    """Commands by repository.

    A repository is given as the end of an image's path (`image-classification` stands for the repository of that name
    in every registry) or with its registry; a tag or digest may follow to narrow it.
    """

    def __init__(self, commands: Mapping[str, list[str]], *, root: Path = ROOT) -> None:
        self._commands = {**built_in_images(root), **commands}
        self.root = root

    def command(self, image: str, verb: str) -> list[str]:
        """Return the command line of `docker run IMAGE VERB` (verb: "train" or "serve").

        Raises ValidationException for an image that no command stands for.
        """
        repository = _without_tag(image)
        for candidate in (image, *_endings(repository, image)):
            if candidate in self._commands:
                return [*self._commands[candidate], verb]
        known, name = ", ".join(sorted(self._commands)), repository.rpartition("/")[2]
        raise validation_error(
            f"Requested image {image} not found. The local AWS runs images as commands and knows: {known}. "
            f"Map this one with `python -m local_aws --image '{name}=COMMAND'` or {IMAGES_VARIABLE}; "
            f"it is then run as COMMAND {verb}."
        )

    def is_built_in_algorithm(self, image: str) -> bool:
        """Tell whether the image is SageMaker's image-classification algorithm, whose metrics are defined by AWS."""
        return _without_tag(image).rpartition("/")[2] == "image-classification"


def _without_tag(image: str) -> str:
    path = image.partition("@")[0]
    head, slash, last = path.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _endings(repository: str, image: str) -> list[str]:
    """Return a/b/c -> [a/b/c, b/c:tag, b/c, c:tag, c]: the longest first, each with its tag before without."""
    tag = image[len(repository) :]
    parts = repository.split("/")
    paths = ["/".join(parts[start:]) for start in range(len(parts))]
    return [form for path in paths for form in (path + tag, path)]
