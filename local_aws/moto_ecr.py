"""moto's ECR with the images that `docker push` brings: real digests and sizes, and a registry that is this server.

moto keeps repositories and manifests. `image_registry` keeps the layers, and asks here for what it has to know.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends
from moto.ecr.responses import ECRResponse

TOKEN_HOURS = 12
PASSWORD_END = "-auth-token"  # noqa: S105 - the end of every password that GetAuthorizationToken hands out
NOT_SCANNED = "The local AWS scans no image."
_registry = {"host": ""}
"""Where `docker` reaches the registry; empty: moto's addresses stay, which no client reaches."""

_create_repository = ECRBackend.create_repository
_put_image = ECRBackend.put_image
_describe_findings = ECRBackend.describe_image_scan_findings
_make_repository = Repository.__init__
_create_from_template = Repository.create_from_cloudformation_json


class TagIsTakenError(Exception):
    """A tag of another image, in a repository whose tags are immutable; the message is ECR's."""


@dataclass(frozen=True)
class StoredManifest:
    """A manifest as it was pushed."""

    content: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """What the image is known by."""
        return _digest(self.content)


def mend_ecr() -> None:
    """Put what ECR does instead of what moto does."""
    backend: Any = ECRBackend
    backend.create_repository = _create_repository_with_settings
    backend.put_image = _put_image_and_scan
    backend.describe_image_scan_findings = _findings_of_what_was_scanned
    image: Any = Image
    image.get_image_digest = lambda one: _digest(one.image_manifest.encode())
    image.get_image_size_in_bytes = _size
    repository: Any = Repository
    repository.__init__ = _make_repository_here
    repository.create_from_cloudformation_json = classmethod(_create_with_lifecycle)
    response: Any = ECRResponse
    response.get_authorization_token = _authorization_token


def serve_registry_at(host: str) -> None:
    """Let repositories that are made from now on have their address at this host, `127.0.0.1:4566`."""
    _registry["host"] = host


def registry_name(account: str, region: str, repository: str) -> str:
    """How a registry at one host distinguishes the repositories of all accounts and regions."""
    return f"{account}/{region}/{repository}"


def has_repository(account: str, region: str, name: str) -> bool:
    """Whether there is such a repository: none is made by a push, and there is none in a region that AWS lacks."""
    try:
        return name in ecr_backends[account][region].repositories
    except KeyError:
        return False


def stored_manifest(account: str, region: str, name: str, reference: str) -> StoredManifest | None:
    """The manifest of a tag or digest, if the repository has it."""
    for image in ecr_backends[account][region].repositories[name].images:
        if reference in image.image_tags or reference == image.get_image_digest():
            return StoredManifest(image.image_manifest.encode(), str(image.image_manifest_media_type))
    return None


def store_manifest(account: str, region: str, name: str, tag: str | None, manifest: StoredManifest) -> None:
    """Keep a manifest that was pushed, under a tag or by its digest alone; raises TagIsTakenError."""
    stored = stored_manifest(account, region, name, tag or manifest.digest)
    if stored is not None and stored.digest == manifest.digest:
        return
    try:
        backend: Any = ecr_backends[account][region]
        backend.put_image(name, manifest.content.decode(), tag, manifest.media_type, manifest.digest)
    except ImageAlreadyExistsException as error:
        raise TagIsTakenError(
            f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the "
            "tag is immutable."
        ) from error


def tags_of(account: str, region: str, name: str) -> list[str]:
    """The tags of a repository, in alphabetical order."""
    images = ecr_backends[account][region].repositories[name].images
    return sorted(tag for image in images for tag in image.image_tags)


def account_of_password(password: str) -> str | None:
    """The account that a password of GetAuthorizationToken signs in to; None for any other password."""
    return password.removesuffix(PASSWORD_END) if password.endswith(PASSWORD_END) else None


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _size(image: Image) -> int:
    """The bytes of the image: its configuration and its layers, packed as they are stored."""
    manifest = json.loads(image.image_manifest)
    parts = [manifest.get("config", {}), *manifest.get("layers", ())]
    return sum(int(part.get("size", 0)) for part in parts)


def _make_repository_here(repository: Repository, *arguments: Any, **named: Any) -> None:
    _make_repository(repository, *arguments, **named)
    if _registry["host"]:
        path = registry_name(repository.account_id, repository.region_name, repository.name)
        repository.uri = f"{_registry['host']}/{path}"


def _create_repository_with_settings(backend: ECRBackend, **named: Any) -> Repository:
    """Make a repository; CloudFormation writes the names of the same settings with a capital letter."""
    for name in ("image_scan_config", "encryption_config"):
        given = named.get(name) or {}
        named[name] = {key[0].lower() + key[1:]: value for key, value in given.items()}
    named["image_scan_config"] = {
        key: str(value).lower() == "true" for key, value in named["image_scan_config"].items()
    }
    return _create_repository(backend, **named)


def _create_with_lifecycle(
    _: type[Repository], resource_name: str, cloudformation_json: Any, *rest: Any, **named: Any
) -> Repository:
    repository = _create_from_template(resource_name, cloudformation_json, *rest, **named)
    policy = cloudformation_json["Properties"].get("LifecyclePolicy") or {}
    repository.lifecycle_policy = policy.get("LifecyclePolicyText")
    return repository


def _put_image_and_scan(backend: ECRBackend, repository_name: str, *arguments: Any, **named: Any) -> Image:
    image = _put_image(backend, repository_name, *arguments, **named)
    scanning: Any = backend.repositories[repository_name].image_scanning_configuration
    if scanning.get("scanOnPush"):
        image.last_scan = datetime.now(UTC)
    return image


def _findings_of_what_was_scanned(
    backend: ECRBackend, registry_id: str, repository_name: str, image_id: dict[str, Any]
) -> dict[str, Any]:
    """What a test or a rehearsal asked for at moto's own address; else that nothing was scanned.

    moto answers with a finding that it made up, which it marks by the name of a package.
    """
    answer: dict[str, Any] = _describe_findings(backend, registry_id, repository_name, image_id)
    findings = answer.get("imageScanFindings", {}).get("findings", ())
    if not any(
        attribute["value"] == "moto_fake" for finding in findings for attribute in finding.get("attributes", ())
    ):
        return answer
    del answer["imageScanFindings"]
    return {**answer, "imageScanStatus": {"status": "UNSUPPORTED_IMAGE", "description": NOT_SCANNED}}


def _authorization_token(response: ECRResponse) -> ActionResult:
    accounts = response._get_param("registryIds") or [response.current_account]
    return ActionResult(
        {
            "authorizationData": [
                {
                    "authorizationToken": b64encode(f"AWS:{account}{PASSWORD_END}".encode()).decode(),
                    "expiresAt": datetime.now(UTC) + timedelta(hours=TOKEN_HOURS),
                    "proxyEndpoint": f"http://{_registry['host']}",
                }
                for account in accounts
            ]
        }
    )
