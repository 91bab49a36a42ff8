"""A container of your own becomes an image in ECR: `python -m include.algorithms.publish FOLDER NAME`.

The folder has a Dockerfile. Its content is the image's tag, so a folder that did not change is not built twice; who
trains names the image by its digest, which is printed. The repository is made with what protects its images, and is
asked what a scan has found.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from include.algorithms.image_build import BuildFolder, Docker, ImageBuildError
from include.algorithms.source_code import PROJECT
from include.problems import Problem, ProblemsError
from include.run_conf.fields import Section
from include.run_conf.reading import Reading

log = logging.getLogger(__name__)

UNTAGGED_DAYS = 14
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "An image without a tag is not used",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": UNTAGGED_DAYS,
            },
            "action": {"type": "expire"},
        }
    ]
}
"""Images with a tag stay: a registered model names its image by digest, and is served by it for as long as it lives."""
Severity = Literal["critical", "high", "medium", "low", "never"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
"""From the least; what ECR calls INFORMATIONAL, UNDEFINED or UNTRIAGED has no severity."""
UNFINISHED = frozenset({"IN_PROGRESS", "PENDING"})
SCANNED = frozenset({"COMPLETE", "ACTIVE"})
SCAN_PAUSE_SECONDS = 5.0
NO_REPOSITORY = ("RepositoryNotFoundException",)
MOST_NAMED = 5


class ImageRepositoryError(ValueError):
    """What ECR refuses or an image that must not be used; the message says why and what to do."""


@dataclass(frozen=True)
class Scan:
    """What a scan has found: the number of findings by severity, and the worst of them by name."""

    status: str
    counts: Mapping[str, int]
    findings: tuple[str, ...] = ()

    def reaches(self, threshold: Severity) -> int:
        """How many findings are of a severity or above it."""
        worst = SEVERITIES[SEVERITIES.index(threshold) :] if threshold in SEVERITIES else ()
        return sum(self.counts.get(severity.upper(), 0) for severity in worst)

    def __str__(self) -> str:
        if not self.counts:
            return self.status
        return f"{self.status}: {', '.join(f'{count} {severity}' for severity, count in self.counts.items())}"


class ImageRepository:
    """One repository; every method raises ImageRepositoryError for what AWS refuses."""

    def __init__(self, ecr: Any, name: str) -> None:
        self._ecr = ecr
        self.name = name

    def ensure(self, *, tags: Mapping[str, str], kms_key_id: str = "") -> str:
        """The address of the repository, which is made if there is none: scanned, encrypted, with immutable tags."""
        found = self._ask(
            "DescribeRepositories",
            lambda: self._ecr.describe_repositories(repositoryNames=[self.name])["repositories"],
            absent=NO_REPOSITORY,
        )
        if found:
            return str(found[0]["repositoryUri"])
        encrypted = {"encryptionType": "KMS", "kmsKey": kms_key_id} if kms_key_id else {"encryptionType": "AES256"}
        made = self._ask(
            "CreateRepository",
            lambda: self._ecr.create_repository(
                repositoryName=self.name,
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
                encryptionConfiguration=encrypted,
                tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )["repository"],
        )
        self._ask(
            "PutLifecyclePolicy",
            lambda: self._ecr.put_lifecycle_policy(repositoryName=self.name, lifecyclePolicyText=json.dumps(LIFECYCLE)),
        )
        log.info("Made the repository %s: scanned on push, immutable tags, encrypted.", made["repositoryUri"])
        return str(made["repositoryUri"])

    def digest(self, tag: str) -> str:
        """The digest of the image with this tag; empty if there is none."""
        found = self._ask(
            "DescribeImages",
            lambda: self._ecr.describe_images(repositoryName=self.name, imageIds=[{"imageTag": tag}])["imageDetails"],
            absent=("ImageNotFoundException", *NO_REPOSITORY),
        )
        return str(found[0]["imageDigest"]) if found else ""

    def token(self) -> str:
        """User and password of the registry, in base64 as Docker keeps them."""
        answer = self._ask("GetAuthorizationToken", self._ecr.get_authorization_token)
        return str(answer["authorizationData"][0]["authorizationToken"])

    def scan(self, digest: str, *, wait_seconds: float) -> Scan:
        """What the scan of an image has found; waits for its end, at most so long."""
        deadline = time.monotonic() + wait_seconds
        while True:
            answer: Any = self._ask(
                "DescribeImageScanFindings",
                lambda: self._ecr.describe_image_scan_findings(
                    repositoryName=self.name, imageId={"imageDigest": digest}
                ),
                absent=("ScanNotFoundException",),
            )
            status = answer["imageScanStatus"] if answer else {"status": "PENDING"}
            if status["status"] not in UNFINISHED:
                return self._scan_of(status, answer.get("imageScanFindings", {}))
            if time.monotonic() > deadline:
                raise ImageRepositoryError(
                    f"The scan of {self.name}@{digest} did not end within {wait_seconds:g} seconds (status "
                    f"{status['status']}). Publish the folder again later: it is not built a second time. A repository "
                    "that was made by hand needs scan on push."
                )
            time.sleep(SCAN_PAUSE_SECONDS)

    def _scan_of(self, status: Mapping[str, str], findings: Mapping[str, Any]) -> Scan:
        said = status.get("description", "")
        if status["status"] == "FAILED":
            raise ImageRepositoryError(
                f"ECR could not scan the image in {self.name}: {said or 'without a reason'}. Publish it again, or "
                "with the severity `never`."
            )
        if status["status"] not in SCANNED:
            return Scan(f"not scanned ({said or status['status']})", {})
        listed = [*findings.get("findings", ()), *findings.get("enhancedFindings", ())]
        order = {severity.upper(): rank for rank, severity in enumerate(SEVERITIES)}
        listed.sort(key=lambda finding: -order.get(finding.get("severity", ""), -1))
        named = tuple(
            f"{finding.get('name') or finding.get('title')} ({finding['severity']})" for finding in listed[:MOST_NAMED]
        )
        return Scan("scanned", dict(findings.get("findingSeverityCounts", {})), named)

    def _ask(self, action: str, call: Callable[[], Any], *, absent: Sequence[str] = ()) -> Any:
        """The answer to a call; None for the errors `absent`."""
        try:
            return call()
        except self._ecr.exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in absent:
                return None
            if code in ("AccessDeniedException", "AccessDenied"):
                raise ImageRepositoryError(
                    f"AWS refuses ecr:{action} on the repository {self.name}: {error}. The stack allows repositories "
                    "below its own name (`image-classification/...`): choose such a name, or allow this one."
                ) from error
            raise


NAMESPACE = "image-classification"
"""Below this name an image is published if nobody gives another, and the stack of this name allows it."""
REPOSITORY = r"^([a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*$"
SCAN_MINUTES = 10


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
