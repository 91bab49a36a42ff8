"""Container images: the command that stands for one on this machine, and what AWS defines for its own algorithm's.

AWS's own images are those in the registries of AWS's accounts. Every other image is what a person says it is: a mapping
of the command line or of LOCAL_AWS_IMAGES, or a `local.json` in the folder of its algorithm.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from local_aws.aws_errors import validation_error
from local_aws.docker_engine import DockerEngine, DockerImage

IMAGES_VARIABLE = "LOCAL_AWS_IMAGES"
ROOT = Path(__file__).resolve().parent.parent
FRAMEWORK_IMAGES = Path(__file__).resolve().parent / "framework_images"
LOCAL_FILE = "local.json"
REGISTRY_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z0-9.]+/(?P<repository>[^:@]+)(?:[:@].*)?"
)
ALGORITHM = "image-classification"
ALGORITHM_ACCOUNTS = {
    "af-south-1": "455444449433",
    "ap-east-1": "286214385809",
    "ap-northeast-1": "501404015308",
    "ap-northeast-2": "306986355934",
    "ap-northeast-3": "867004704886",
    "ap-south-1": "991648021394",
    "ap-south-2": "628508329040",
    "ap-southeast-1": "475088953585",
    "ap-southeast-2": "544295431143",
    "ap-southeast-3": "951798379941",
    "ap-southeast-4": "106583098589",
    "ca-central-1": "469771592824",
    "ca-west-1": "190319476487",
    "cn-north-1": "390948362332",
    "cn-northwest-1": "387376663083",
    "eu-central-1": "813361260812",
    "eu-central-2": "680994064768",
    "eu-north-1": "669576153137",
    "eu-south-1": "257386234256",
    "eu-south-2": "104374241257",
    "eu-west-1": "685385470294",
    "eu-west-2": "644912444149",
    "eu-west-3": "749696950732",
    "il-central-1": "898809789911",
    "me-central-1": "272398656194",
    "me-south-1": "249704162688",
    "sa-east-1": "855470959533",
    "us-east-1": "811284229777",
    "us-east-2": "825641698319",
    "us-gov-east-1": "237065988967",
    "us-gov-west-1": "226302683700",
    "us-iso-east-1": "490574956308",
    "us-isob-east-1": "765400339828",
    "us-isof-east-1": "108575199400",
    "us-isof-south-1": "124985052026",
    "us-west-1": "632365934929",
    "us-west-2": "433757028032",
}
"""The AWS account whose registry holds the algorithm's image, by region: the table of the SageMaker SDK."""
_EPOCH_VALUE = r"Epoch\[\d+\] {}-accuracy=(\S+)"
IMAGE_CLASSIFICATION_METRICS: tuple[Mapping[str, str], ...] = tuple(
    {"Name": f"{channel}:accuracy{suffix}", "Regex": _EPOCH_VALUE.format(word)}
    for channel, word in (("train", "Train"), ("validation", "Validation"))
    for suffix in ("", ":epoch")
)
"""The metrics of the built-in image-classification algorithm, from the lines it prints at the end of every epoch."""


class ImageMappingError(ValueError):
    """An image whose command cannot be read, from a `REPOSITORY=COMMAND` or from a `local.json`."""


@dataclass(frozen=True)
class Command:
    """What stands for an image: words of a command line, started in a folder.

    `wraps` is true for a command that starts what follows its words, as an image's own entry point does; otherwise it
    is the entry point.
    """

    words: tuple[str, ...]
    folder: Path
    wraps: bool = False

    def run(self, verb: str, algorithm: Mapping[str, Any]) -> Command:
        """The command of `docker run IMAGE VERB`, as the algorithm's ContainerEntrypoint and -Arguments change it.

        An entry point of the request takes the place of the image's, and has no arguments but those of the request.
        """
        entrypoint, arguments = algorithm.get("ContainerEntrypoint"), algorithm.get("ContainerArguments")
        if entrypoint is None:
            return Command((*self.words, *(arguments or [verb])), self.folder)
        return Command((*(self.words if self.wraps else ()), *entrypoint, *(arguments or ())), self.folder)


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


def algorithms_below(folder: Path) -> dict[str, Command]:
    """The commands of the algorithms that have a `local.json` in a folder below this one, by repository.

    Raises ImageMappingError for a file that says something else, and for a repository of two algorithms.
    """
    commands: dict[str, Command] = {}
    for file in sorted(folder.glob(f"*/{LOCAL_FILE}")):
        repository, command = read_local_file(file)
        if repository in commands:
            raise ImageMappingError(f"{file}: another folder beside it has the repository {repository!r} too")
        commands[repository] = command
    return commands


def read_local_file(file: Path) -> tuple[str, Command]:
    """The repository and the command that a `local.json` names: `{"repository": "name", "command": ["word", ...]}`.

    Raises ImageMappingError.
    """
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageMappingError(f"{file} cannot be read: {error}") from error
    fields = {"repository", "command"}
    if not isinstance(document, dict) or set(document) != fields:
        raise ImageMappingError(f"{file} must be an object with the fields {', '.join(sorted(fields))}, and no others")
    repository, words = document["repository"], document["command"]
    if not isinstance(repository, str) or not repository:
        raise ImageMappingError(f"{file}: repository must be the name of a repository, not {repository!r}")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise ImageMappingError(f"{file}: command must be a list of words, not {words!r}")
    return repository, Command(tuple(words), file.parent)


class ContainerImages:
    """Commands by repository, and those of AWS's own images.

    A repository is given as the end of an image's path (`mine` stands for the repository of that name in every
    registry) or with its registry; a tag or digest may follow to narrow it. What is given comes before AWS's images.
    """

    def __init__(
        self, commands: Mapping[str, list[str]], *, root: Path = ROOT, engine: DockerEngine | None = None
    ) -> None:
        """Read the `local.json` of every folder of `algorithms/`; raises ImageMappingError."""
        given = {name: self._given(words, root) for name, words in commands.items()}
        self._commands = {**algorithms_below(root / "algorithms"), **given}
        self._root = root
        self._engine = engine

    def runnable(self, image: str, verb: str, algorithm: Mapping[str, Any] | None = None) -> DockerImage | Command:
        """What runs for an image: the image itself where a Docker engine has it, else the command that stands for it.

        Raises ValidationException for an image that is neither.
        """
        in_docker = self._engine.image(image, verb, algorithm or {}) if self._engine is not None else None
        return in_docker or self.command(image, verb, algorithm)

    def command(self, image: str, verb: str, algorithm: Mapping[str, Any] | None = None) -> Command:
        """The command line of `docker run IMAGE VERB` (verb: "train" or "serve"), or of the algorithm's entry point.

        Raises ValidationException for an image that no command stands for.
        """
        repository = _without_tag(image)
        for candidate in (image, *_endings(repository, image)):
            if candidate in self._commands:
                return self._commands[candidate].run(verb, algorithm or {})
        own = self._of_aws(image, verb)
        if own is not None:
            return own.run(verb, algorithm or {})
        name = repository.rpartition("/")[2]
        known = ", ".join([*sorted(self._commands), f"AWS's {ALGORITHM}", *(f"AWS's {each}" for each in _frameworks())])
        raise validation_error(
            f"Requested image {image} not found. The local AWS runs images as commands and knows: {known}. "
            f"Map this one with `python -m local_aws --image '{name}=COMMAND'` or {IMAGES_VARIABLE}; "
            f"it is then run as COMMAND {verb}. An image that Docker has runs in Docker with `--docker`."
        )

    def metric_definitions(self, algorithm: Mapping[str, Any]) -> list[dict[str, str]]:
        """The metrics of an AlgorithmSpecification, with those of the built-in algorithm that it does not replace."""
        given = list(algorithm.get("MetricDefinitions", ()))
        if not self.is_built_in_algorithm(algorithm.get("TrainingImage", "")):
            return given
        names = {definition["Name"] for definition in given}
        return given + [dict(known) for known in IMAGE_CLASSIFICATION_METRICS if known["Name"] not in names]

    def is_built_in_algorithm(self, image: str) -> bool:
        """Whether the image is SageMaker's image-classification algorithm, whose metrics are defined by AWS.

        Only the image in the registry of AWS's own account is: a copy of that name in another registry is an image of
        your own, whose metrics are what the request defines.
        """
        found = REGISTRY_IMAGE.fullmatch(image)
        return (
            found is not None
            and found["repository"] == ALGORITHM
            and ALGORITHM_ACCOUNTS.get(found["region"]) == found["account"]
        )

    def _of_aws(self, image: str, verb: str) -> Command | None:
        """The command of an image of AWS's own: of the algorithm, or of a framework."""
        if self.is_built_in_algorithm(image):
            python = self._root / ".venv-mxnet" / "bin" / "python"
            return Command((str(python), "-m", "containers.image_classification"), self._root)
        found = REGISTRY_IMAGE.fullmatch(image)
        framework = _frameworks().get(found["repository"]) if found else None
        if found is None or framework is None or framework["accounts"].get(found["region"]) != found["account"]:
            return None
        if framework["verb"] != verb:
            raise validation_error(f"The image {image} is there to {framework['verb']}: it has no `{verb}`.")
        python = self._root / ".venv-pytorch" / "bin" / "python"
        return Command((str(python), "-I", str(FRAMEWORK_IMAGES / "start.py")), self._root, wraps=True)

    @staticmethod
    def _given(words: list[str], root: Path) -> Command:
        """The command of a mapping, which may name the folder of an algorithm that has a `local.json`."""
        folder = root / words[0]
        if len(words) == 1 and (folder / LOCAL_FILE).is_file():
            return read_local_file(folder / LOCAL_FILE)[1]
        return Command(tuple(words), root)


@cache
def _frameworks() -> dict[str, Any]:
    """AWS's framework images that run here, by repository: their verb, and the account of their registry by region."""
    table: dict[str, Any] = json.loads((FRAMEWORK_IMAGES / "images.json").read_bytes())["repositories"]
    return table


def _without_tag(image: str) -> str:
    path = image.partition("@")[0]
    head, slash, last = path.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _endings(repository: str, image: str) -> list[str]:
    """a/b/c -> [a/b/c, b/c:tag, b/c, c:tag, c]: the longest first, each with its tag before without."""
    tag = image[len(repository) :]
    parts = repository.split("/")
    paths = ["/".join(parts[start:]) for start in range(len(parts))]
    return [form for path in paths for form in (path + tag, path)]
