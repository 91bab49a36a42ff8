"""A repository of ECR: made with what protects its images, signed in to, and asked what a scan has found."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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

log = logging.getLogger(__name__)


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
