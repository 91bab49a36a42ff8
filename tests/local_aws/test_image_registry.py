"""ECR and the registry behind it, by the requests that `docker push` and `docker pull` send."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support.aws_cli import aws
from tests.support.local_aws import RunningLocalAws
from tests.support.registry_client import MANIFEST_TYPE, RegistryClient, digest, token_of
from tests.unit.docs.commands import shown


@pytest.fixture(scope="module")
def ecr(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("ecr")


@pytest.fixture
def repository(ecr: Any) -> Iterator[Any]:
    made = ecr.create_repository(
        repositoryName=f"team/flowers-{uuid4().hex[:8]}",
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
    )["repository"]
    yield made
    ecr.delete_repository(repositoryName=made["repositoryName"], force=True)


@pytest.fixture
def registry(ecr: Any, repository: Any) -> RegistryClient:
    token = ecr.get_authorization_token()["authorizationData"][0]
    assert token["proxyEndpoint"] == f"http://{repository['repositoryUri'].partition('/')[0]}"
    return RegistryClient(repository["repositoryUri"], token["authorizationToken"])


def test_an_image_that_was_pushed_is_described_by_ecr_and_pulled_by_its_digest(
    ecr: Any, repository: Any, registry: RegistryClient
) -> None:
    pushed, manifest = registry.push_image(b"layer" * 1000, "1")

    [image] = ecr.describe_images(repositoryName=repository["repositoryName"])["imageDetails"]
    pulled = registry.ask("GET", f"{registry.path}/manifests/{image['imageDigest']}")
    layer = json.loads(pulled.body)["layers"][0]
    content = registry.ask("GET", f"{registry.path}/blobs/{layer['digest']}")

    assert pushed.status == 201
    assert image["imageTags"] == ["1"]
    assert image["imageDigest"] == digest(manifest) == pushed.headers["Docker-Content-Digest"]
    assert image["imageSizeInBytes"] == 5000 + json.loads(manifest)["config"]["size"]
    assert (pulled.body, pulled.headers["Content-Type"]) == (manifest, MANIFEST_TYPE)
    assert content.body == b"layer" * 1000
    assert json.loads(registry.ask("GET", f"{registry.path}/tags/list").body)["tags"] == ["1"]


def test_the_commands_of_the_pages_make_a_repository_and_sign_in(local_aws: RunningLocalAws, ecr: Any) -> None:
    (password,) = shown("aws ecr get-login-password")

    for command in shown("aws ecr create-repository *"):
        printed = aws(command.words, local_aws.client)
        name = command.words[command.words.index("--repository-name") + 1]
        uri = printed if "--query" in command.words else json.loads(printed)["repository"]["repositoryUri"]
        token = base64.b64encode(f"AWS:{aws(password.words, local_aws.client)}".encode()).decode()
        pushed, _ = RegistryClient(uri, token).push_image(b"layer", "1")

        assert pushed.status == 201
        assert ecr.describe_images(repositoryName=name)["imageDetails"][0]["imageTags"] == ["1"]
        ecr.delete_repository(repositoryName=name, force=True)


def test_a_layer_may_come_in_chunks_and_be_read_in_part(registry: RegistryClient) -> None:
    assert registry.push_blob(b"one two", b"one ", b"two").status == 201

    path = f"{registry.path}/blobs/{digest(b'one two')}"
    part = registry.ask("GET", path, Range="bytes=4-")

    assert (part.status, part.body) == (206, b"two")
    assert registry.ask("HEAD", path).headers["Content-Length"] == "7"
    assert registry.ask("HEAD", f"{registry.path}/blobs/{digest(b'three')}").status == 404


def test_an_upload_tells_how_far_it_came_and_takes_only_what_follows(registry: RegistryClient) -> None:
    upload = registry.ask("POST", f"{registry.path}/blobs/uploads/").headers["Location"]
    registry.ask("PATCH", upload, b"four")

    again = registry.ask("PATCH", upload, b"four", Content_Range="0-3")

    assert again.refused == (416, "BLOB_UPLOAD_INVALID")
    assert registry.ask("GET", upload).headers["Range"] == "0-3"
    assert registry.ask("PUT", f"{upload}?digest={digest(b'five')}").refused == (400, "DIGEST_INVALID")
    assert registry.ask("GET", upload).refused == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_immutable_tag_stays_with_its_image(registry: RegistryClient) -> None:
    first, manifest = registry.push_image(b"first", "1")
    same, _ = registry.push_image(b"first", "1")
    other, _ = registry.push_image(b"second", "1")
    untagged, _ = registry.push_image(b"second", "digest")

    assert (first.status, same.status, untagged.status) == (201, 201, 201)
    assert other.refused == (400, "TAG_INVALID")
    assert b"cannot be overwritten because the tag is immutable" in other.body
    assert registry.ask("GET", f"{registry.path}/manifests/1").body == manifest


def test_a_manifest_without_its_layers_is_refused(registry: RegistryClient) -> None:
    absent = {"digest": digest(b"absent"), "size": 6}
    manifest = json.dumps({"config": absent, "layers": []}).encode()

    answer = registry.ask("PUT", f"{registry.path}/manifests/1", manifest, Content_Type=MANIFEST_TYPE)
    damaged = registry.ask("PUT", f"{registry.path}/manifests/1", b'{"layers": 3}', Content_Type=MANIFEST_TYPE)

    assert answer.refused == (400, "MANIFEST_BLOB_UNKNOWN")
    assert damaged.refused == (400, "MANIFEST_INVALID")


def test_only_who_signed_in_to_the_account_reaches_a_repository_that_was_made(repository: Any) -> None:
    uri = repository["repositoryUri"]
    unknown = RegistryClient(uri.replace("flowers", "weeds"), token_of("123456789012"))

    begin = "/blobs/uploads/"
    anonymous = RegistryClient(uri, "")
    assert anonymous.ask("POST", anonymous.path + begin).refused == (401, "UNAUTHORIZED")
    stranger = RegistryClient(uri, token_of("210987654321"))
    assert stranger.ask("POST", stranger.path + begin).refused == (403, "DENIED")
    assert unknown.ask("POST", unknown.path + begin).refused == (404, "NAME_UNKNOWN")


def test_a_scan_says_that_nothing_was_scanned_or_what_was_asked_for(
    local_aws: RunningLocalAws, ecr: Any, repository: Any, registry: RegistryClient
) -> None:
    name = repository["repositoryName"]
    _, manifest = registry.push_image(b"layer", "1")
    _, other = registry.push_image(b"other", "2")
    asked = {
        "registryId": "123456789012",
        "repositoryName": name,
        "imageId": {"imageDigest": digest(other)},
        "imageScanStatus": {"status": "COMPLETE"},
        "imageScanFindings": {"findingSeverityCounts": {"CRITICAL": 1}, "findings": []},
    }
    urllib.request.urlopen(
        urllib.request.Request(
            f"{local_aws.url}/moto-api/static/ecr/scan-finding-results",
            data=json.dumps({"results": [asked], "account_id": "123456789012", "region": "us-east-1"}).encode(),
            headers={"Content-Type": "application/json"},
        ),
        timeout=30,
    )

    def scan(image: bytes) -> Any:
        return ecr.describe_image_scan_findings(repositoryName=name, imageId={"imageDigest": digest(image)})

    assert scan(manifest)["imageScanStatus"] == {
        "status": "UNSUPPORTED_IMAGE",
        "description": "The local AWS scans no image.",
    }
    assert scan(other)["imageScanFindings"]["findingSeverityCounts"] == {"CRITICAL": 1}
