"""Container images: the command that stands for one on this machine, and what AWS defines for its own algorithm's."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from local_aws.aws_errors import validation_error

IMAGES_VARIABLE = "LOCAL_AWS_IMAGES"
ROOT = Path(__file__).resolve().parent.parent
ALGORITHM_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z0-9.]+/image-classification(?:[:@]|\Z)"
)
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
    """A `REPOSITORY=COMMAND` that cannot be read."""


def built_in_images(root: Path = ROOT) -> dict[str, list[str]]:
    """The commands of the images that come with this project, by repository name."""
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
        """The command line of `docker run IMAGE VERB` (verb: "train" or "serve").

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
        one's own, whose metrics are what the request defines.
        """
        found = ALGORITHM_IMAGE.match(image)
        return found is not None and ALGORITHM_ACCOUNTS.get(found["region"]) == found["account"]


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
