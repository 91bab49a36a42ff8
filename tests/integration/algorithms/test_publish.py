"""A folder becomes an image in the ECR of the local AWS. Docker itself is stood in for; tests/docker has a real one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tarfile
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.stub import Stubber

from include.algorithms.image_build import ImageBuildError
from include.algorithms.publish import ImageRepository, ImageRepositoryError, main, publish
from tests.support.docker_stand_in import install
from tests.support.local_aws import BUCKET, ROLE, ROOT, RunningLocalAws, eventually, finished_job, training_request
from tests.unit.docs.commands import shown

FLOWERS = ROOT / "tests" / "docker" / "flowers"


@pytest.fixture
def ecr(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("ecr")


@pytest.fixture
def name() -> str:
    return f"image-classification/{uuid4().hex[:8]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An algorithm's folder."""
    folder = tmp_path / "flowers"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY train /\n")
    (folder / "train").write_text("#!/bin/sh\n")
    (folder / "train").chmod(0o755)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "train.cpython-311.pyc").write_bytes(b"compiled")
    return folder


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the program `docker`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    install(programs)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return programs


def calls(docker: Path) -> list[str]:
    return (docker / "calls").read_text().split()


def ask_for_findings(url: str, name: str, status: str, findings: list[dict[str, str]]) -> None:
    """Let the next scan in this repository have these findings."""
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
    scan = {
        "registryId": "123456789012",
        "repositoryName": name,
        "imageId": {},
        "imageScanStatus": {"status": status, "description": "a stand-in"},
        "imageScanFindings": {"findingSeverityCounts": counts, "findings": findings},
    }
    asked = {"results": [scan], "account_id": "123456789012", "region": "us-east-1"}
    request = urllib.request.Request(
        f"{url}/moto-api/static/ecr/scan-finding-results",
        data=json.dumps(asked).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def test_a_folder_is_built_and_pushed_once_for_each_content(ecr: Any, folder: Path, docker: Path, name: str) -> None:
    first = publish(ecr, folder, name, tags={"owner": "vision"}, kms_key_id="arn:aws:kms:us-east-1:123456789012:key/k")
    again = publish(ecr, folder, name)
    (folder / "train").write_text("#!/bin/sh\nexit 1\n")
    changed = publish(ecr, folder, name)

    [repository] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    images = ecr.describe_images(repositoryName=name)["imageDetails"]
    with tarfile.open(docker / "context.tar") as context:
        members = {member.name: member.mode for member in context if member.isfile()}

    assert (first.built, again.built, changed.built) == (True, False, True)
    assert first.uri == again.uri != changed.uri
    assert {f"{repository['repositoryUri']}@{image['imageDigest']}" for image in images} == {first.uri, changed.uri}
    assert calls(docker) == ["version", "build", "image", "push"] * 2
    assert members == {"Dockerfile": 0o644, "train": 0o755}
    assert first.scan == "not scanned (The local AWS scans no image.)"


def test_a_copy_of_the_template_is_a_folder_to_publish(ecr: Any, docker: Path, name: str, tmp_path: Path) -> None:
    (copy,) = shown("cp -r *")
    program, option, template, made = copy.words
    (tmp_path / made).parent.mkdir()

    subprocess.run([program, option, ROOT / template, tmp_path / made], check=True)

    assert publish(ecr, tmp_path / made, name).built
    with tarfile.open(docker / "context.tar") as context:
        assert {"Dockerfile", "train", "serve", "config.toml"} <= {*context.getnames()}


def test_a_repository_is_made_with_what_protects_its_images(ecr: Any, folder: Path, docker: Path, name: str) -> None:
    publish(ecr, folder, name, tags={"owner": "vision"}, kms_key_id="arn:aws:kms:us-east-1:123456789012:key/k")

    [repository] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])["rules"]

    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert repository["encryptionConfiguration"]["kmsKey"] == "arn:aws:kms:us-east-1:123456789012:key/k"
    assert ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"] == [
        {"Key": "owner", "Value": "vision"}
    ]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"]


def test_a_finding_of_the_severity_stops_it_and_a_lesser_one_does_not(
    local_aws: RunningLocalAws, ecr: Any, folder: Path, docker: Path, name: str
) -> None:
    ask_for_findings(local_aws.url, name, "COMPLETE", [{"name": "CVE-1", "severity": "MEDIUM"}])
    published = publish(ecr, folder, name, severity="high")
    with pytest.raises(ImageRepositoryError, match=r"has 1 findings of severity medium or above .*CVE-1 \(MEDIUM\)"):
        publish(ecr, folder, name, severity="medium")

    assert published.scan == "scanned: 1 MEDIUM"
    assert publish(ecr, folder, name, severity="never").scan == "not asked for"


def test_a_scan_that_fails_or_does_not_end_is_an_error(
    local_aws: RunningLocalAws, ecr: Any, folder: Path, docker: Path, name: str
) -> None:
    ask_for_findings(local_aws.url, name, "IN_PROGRESS", [])
    with pytest.raises(ImageRepositoryError, match=r"did not end within 0 seconds \(status IN_PROGRESS\)"):
        publish(ecr, folder, name, scan_minutes=0)
    (folder / "more").touch()
    ask_for_findings(local_aws.url, name, "FAILED", [])
    with pytest.raises(ImageRepositoryError, match=r"could not scan the image .*: a stand-in"):
        publish(ecr, folder, name)


@pytest.mark.parametrize(
    ("failing", "remedy"),
    [
        ("version Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "No Docker engine answers"),
        ("version permission denied while trying to connect to the Docker daemon socket", "add it to the group"),
        ("build write /layer: no space left on device", "The disk of the Docker engine is full"),
        ("build pull access denied for nobody/nothing", "The base image cannot be pulled"),
        ("build The command '/bin/sh -c false' returned a non-zero code: 1", "Docker said: The command"),
        ("push denied: User: me is not authorized to perform: ecr:InitiateLayerUpload", "ECR refuses the push"),
        ("build bash: ./install.sh: Permission denied", "Docker cannot build .* Docker said: bash"),
    ],
)
def test_what_docker_refuses_comes_with_what_to_do(
    *, ecr: Any, folder: Path, docker: Path, name: str, monkeypatch: pytest.MonkeyPatch, failing: str, remedy: str
) -> None:
    monkeypatch.setenv("DOCKER_STAND_IN_FAILS", failing)

    with pytest.raises(ImageBuildError, match=remedy):
        publish(ecr, folder, name)


def test_a_full_disk_is_named_with_what_to_do(
    ecr: Any, folder: Path, docker: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "train")

    monkeypatch.setattr("include.algorithms.image_build.shutil.copy2", copy)

    with pytest.raises(ImageBuildError, match=r"cannot be copied .* No space left on device.*TMPDIR"):
        publish(ecr, folder, name)
    assert calls(docker) == ["version"]


def test_without_docker_no_repository_is_made(
    ecr: Any, folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ImageBuildError, match="Docker is not installed on this machine"):
        publish(ecr, folder, name)
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.describe_images(repositoryName=name)


def test_a_call_that_aws_refuses_names_the_action_and_the_names_that_the_stack_allows(ecr: Any) -> None:
    with Stubber(ecr) as refusing:
        refusing.add_client_error("describe_images", "AccessDeniedException", "is not authorized", 400)

        with pytest.raises(ImageRepositoryError, match=r"refuses ecr:DescribeImages .* below its own name"):
            ImageRepository(ecr, "flowers").digest("1")


def test_the_command_prints_the_address_or_one_line_of_what_is_wrong(
    *,
    local_aws: RunningLocalAws,
    folder: Path,
    docker: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    registry = f"{local_aws.url.removeprefix('http://')}/123456789012/us-east-1"
    parts = {"algorithms/flowers": str(folder), "FOLDER": str(folder), "STACK/NAME": f"stack/{name}", "NAME": name}

    published = set()
    for command in shown("*python -m include.algorithms.publish *"):
        arguments = [parts.get(word, word) for word in command.words[3:]]
        assert main(arguments) == 0
        assert capsys.readouterr().out.startswith(f"{registry}/{arguments[1]}@")
        published.add(arguments[1])
    assert published == {name, f"stack/{name}", "image-classification/flowers"}

    (folder / "Dockerfile").unlink()
    assert main([str(folder), name]) == 1
    assert f"{folder} has no file `Dockerfile`: add one" in capsys.readouterr().err


def test_the_image_that_was_published_trains_and_serves_as_the_process_it_is_mapped_to(
    local_aws: RunningLocalAws, ecr: Any, docker: Path
) -> None:
    published = publish(ecr, FLOWERS, "image-classification/flowers")
    s3, sagemaker = local_aws.client("s3"), local_aws.client("sagemaker")
    s3.create_bucket(Bucket=BUCKET)
    for key, content in {"daisy/1.jpg": b"\x10", "rose/1.jpg": b"\xf0"}.items():
        s3.put_object(Bucket=BUCKET, Key=f"data/train/{key}", Body=content)

    sagemaker.create_training_job(**training_request("flowers", published.uri))
    job = finished_job(sagemaker, "flowers")
    model = {"Image": published.uri, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]}
    sagemaker.create_model(ModelName="flowers", ExecutionRoleArn=ROLE, PrimaryContainer=model)
    variant = {"VariantName": "a", "ModelName": "flowers", "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="flowers", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="flowers", EndpointConfigName="flowers")
    eventually(lambda: sagemaker.describe_endpoint(EndpointName="flowers")["EndpointStatus"] == "InService")
    answer = local_aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="flowers", ContentType="image/jpeg", Body=b"\xf1"
    )

    daisy, rose = json.load(answer["Body"])
    assert rose > daisy
