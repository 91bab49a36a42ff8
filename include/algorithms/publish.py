"""A container of your own becomes an image in ECR: `python -m include.algorithms.publish FOLDER NAME`.

The folder has a Dockerfile. Its content is the image's tag, so a folder that did not change is not built twice; who
trains names the image by its digest, which is printed.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from include.algorithms.image_build import BuildFolder, Docker, ImageBuildError
from include.algorithms.image_repository import ImageRepository, ImageRepositoryError, Severity
from include.algorithms.source_code import PROJECT
from include.problems import Problem, ProblemsError
from include.run_conf.fields import Section
from include.run_conf.reading import Reading

NAMESPACE = "image-classification"
"""Below this name an image is published if nobody gives another, and the stack of this name allows it."""
REPOSITORY = r"^([a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$"
SCAN_MINUTES = 10

log = logging.getLogger(__name__)


class PublishConfError(ProblemsError):
    """What arrived does not say what to publish."""

    title = "The conf of the publication has problems"


class PublishConf(Section):
    """What a person asks of `publish_training_image`."""

    model_config = ConfigDict(title="Image")

    folder: str = Field(
        "",
        max_length=1000,
        examples=["algorithms/container_template"],
        title="Folder",
        description="Folder of this project with a Dockerfile. Required.",
    )
    name: str = Field(
        "",
        max_length=256,
        pattern=rf"^$|{REPOSITORY}",
        examples=["image-classification/flowers"],
        title="Repository",
        description=f"ECR repository. It is made if there is none. Empty: `{NAMESPACE}/` and the name of the folder. "
        "The stack allows repositories below its own name.",
    )
    severity: Severity = Field(
        "high",
        title="Severity that fails the run",
        description="A finding of this severity or above in the scan of the image fails the run.",
    )
    scan_minutes: int = Field(
        SCAN_MINUTES, ge=0, le=120, title="Scan (min)", description="Longest wait for the end of the scan."
    )

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any] | None) -> Self:
        """Read the conf of a run. Raises PublishConfError with everything that is wrong with it."""
        reading = Reading.of(cls, conf or {})
        read = cls.model_validate(reading.document())
        problems = list(reading.problems)
        if not read.folder and "folder" not in reading.wrong_fields:
            problems.append(Problem(field="folder", remedy="name a folder of this project that has a Dockerfile"))
        elif not (PROJECT / read.folder).resolve().is_relative_to(PROJECT):
            remedy = f"must lie in the project ({PROJECT}): the image that is built of it leaves this machine"
            problems.append(Problem(field="folder", value=read.folder, remedy=remedy))
        if problems:
            raise PublishConfError(problems)
        return read

    @property
    def path(self) -> Path:
        """The folder on this machine."""
        return PROJECT / self.folder

    @property
    def repository(self) -> str:
        """The repository, named by the person or after the folder."""
        return self.name or f"{NAMESPACE}/{self.path.resolve().name.lower().replace('_', '-')}"


class PublishedImage(BaseModel):
    """An image in ECR: `uri` names it by its digest; `built` is false for one that was there already."""

    uri: str
    tag: str
    built: bool
    scan: str


def publish(
    ecr: Any,
    folder: Path,
    name: str,
    *,
    severity: Severity = "high",
    scan_minutes: float = SCAN_MINUTES,
    tags: Mapping[str, str] | None = None,
    kms_key_id: str = "",
) -> PublishedImage:
    """Build a folder's image, push it to the repository of this name, and wait for its scan.

    Raises ImageBuildError (no Dockerfile, no engine, no disk, a build that fails) and ImageRepositoryError (no
    permission, a scan that fails or finds something of this severity).
    """
    source = BuildFolder.of(folder)
    tag = source.tag()
    repository = ImageRepository(ecr, name)
    digest = repository.digest(tag)
    docker = None if digest else Docker.find()
    address = repository.ensure(tags=tags or {}, kms_key_id=kms_key_id)
    if docker is not None:
        image = f"{address}:{tag}"
        docker.build(source, image)
        with docker.signed_in(address.partition("/")[0], repository.token()) as signed_in:
            signed_in.push(image)
        digest = repository.digest(tag)
    uri = f"{address}@{digest}"
    built = docker is not None
    log.info("%s %s, tag %s.", "Pushed" if built else "The folder has not changed since it was published:", uri, tag)
    if severity == "never":
        return PublishedImage(uri=uri, tag=tag, built=built, scan="not asked for")
    scan = repository.scan(digest, wait_seconds=60 * scan_minutes)
    if found := scan.reaches(severity):
        raise ImageRepositoryError(
            f"The scan of {uri} has {found} findings of severity {severity} or above ({scan}), such as "
            f"{', '.join(scan.findings) or 'those that ECR lists'}. Choose a newer base image or newer packages in the "
            "folder and publish it again (unchanged, it is not built again), or choose another severity."
        )
    log.log(logging.INFO if scan.counts or scan.status == "scanned" else logging.WARNING, "The image is %s.", scan)
    return PublishedImage(uri=uri, tag=tag, built=built, scan=str(scan))


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish a folder and print the address of the image, its only line on standard output."""
    parser = argparse.ArgumentParser(prog="python -m include.algorithms.publish", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder with a Dockerfile")
    parser.add_argument("name", help="the ECR repository, made if there is none: image-classification/flowers")
    parser.add_argument("--severity", choices=get_args(Severity), default="high", help="what stops it (default: high)")
    parser.add_argument("--scan-minutes", type=float, default=SCAN_MINUTES, help="limit of the scan (default: 10)")
    parser.add_argument("--kms-key-id", default="", help="key of a new repository (default: AWS's)")
    parser.add_argument("--region", help="region of the repository (default: that of the AWS client)")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    import boto3  # noqa: PLC0415 - the DAG's form reads this module in every process of Airflow
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        published = publish(
            boto3.client("ecr", region_name=asked.region),
            asked.folder,
            asked.name,
            severity=asked.severity,
            scan_minutes=asked.scan_minutes,
            kms_key_id=asked.kms_key_id,
        )
    except (ImageBuildError, ImageRepositoryError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{published.uri}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
