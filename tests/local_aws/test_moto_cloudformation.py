"""`make stack` against the local AWS: the stack of the project, deployed by change sets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from include.settings import Settings
from tests.support.local_aws import RunningLocalAws
from tests.support.makefile import ROOT, recipe
from tests.unit.docs.commands import shown
from tools import stack


@pytest.fixture(autouse=True)
def client(local_aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    return local_aws.client("cloudformation")


@pytest.fixture
def name(client: Any) -> Iterator[str]:
    name = f"pets-{uuid4().hex[:6]}"
    yield name
    client.delete_stack(StackName=name)


def deploy(name: str, *words: str) -> int:
    return stack.main([name, "--region", "us-east-1", *words])


def test_the_stack_is_made_with_buckets_roles_and_repository_and_prints_the_settings(
    local_aws: RunningLocalAws, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(name, "AirflowService=ec2.amazonaws.com") == 0

    printed = capsys.readouterr().out
    settings = Settings.from_variable(json.loads(printed.rpartition("image_classification '")[2].rstrip("'\n")))
    ecr, iam = local_aws.client("ecr"), local_aws.client("iam")
    [repository] = ecr.describe_repositories(repositoryNames=[f"{name}/training"])["repositories"]
    encryption = local_aws.client("s3").get_bucket_encryption(Bucket=settings.data_bucket)
    trust = iam.get_role(RoleName=f"{name}-airflow-us-east-1")["Role"]["AssumeRolePolicyDocument"]["Statement"]

    assert "  Add      TrainingImages       AWS::ECR::Repository\n" in printed
    assert settings.data_bucket == f"{name}-data-123456789012-us-east-1"
    assert "aws:kms" in json.dumps(encryption["ServerSideEncryptionConfiguration"])
    assert [statement["Principal"] for statement in trust if statement] == [{"Service": "ec2.amazonaws.com"}]
    assert repository["repositoryUri"] in printed
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert repository["encryptionConfiguration"]["encryptionType"] == "KMS"
    assert "untagged" in ecr.get_lifecycle_policy(repositoryName=f"{name}/training")["lifecyclePolicyText"]


def test_the_targets_of_the_pages_deploy_it(
    client: Any, local_aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make stack` of a page that names no principal updates what the other one has made."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    names = set()
    for command in shown("make stack*"):
        (line,) = recipe(command.words)
        _, script, *arguments = shlex.split(line)
        assert (ROOT / script).samefile(stack.__file__)

        assert stack.main(arguments) == 0
        names.add(arguments[0])
        for word in arguments[1:]:
            assert word.partition("=")[2] in capsys.readouterr().out + str(trust_of(local_aws, arguments[0]))

    assert names == {"image-classification"}
    client.delete_stack(StackName=names.pop())


def trust_of(local_aws: RunningLocalAws, name: str) -> Any:
    """Who may take on the role of Airflow."""
    role = local_aws.client("iam").get_role(RoleName=f"{name}-airflow-us-east-1")["Role"]
    return role["AssumeRolePolicyDocument"]["Statement"]


def test_a_second_deployment_changes_what_differs_and_loses_nothing_unless_it_is_allowed(
    client: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(name, "--show") == 0
    assert deploy(name, "AirflowService=ec2.amazonaws.com") == 0
    assert deploy(name) == 0
    assert f"The stack {name} is as stack.yaml has it." in capsys.readouterr().out

    changed = tmp_path / "stack.yaml"
    changed.write_text(
        stack.TEMPLATE.read_text().replace("\n  People:\n", "\n  Everybody:\n").replace("People", "Everybody")
    )
    monkeypatch.setattr(stack, "TEMPLATE", changed)
    assert deploy(name) == 1
    told = capsys.readouterr()
    assert "  Remove   People" in told.out
    assert "Nothing was changed: it would remove or replace People." in told.err
    assert "People" in resources(client, name)

    assert deploy(name, "--replace") == 0
    assert "Everybody" in resources(client, name)
    assert "People" not in resources(client, name)


def resources(client: Any, name: str) -> set[str]:
    found = client.describe_stack_resources(StackName=name)["StackResources"]
    return {resource["LogicalResourceId"] for resource in found if "LogicalResourceId" in resource}


def test_what_is_wrong_is_one_line_before_aws_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy("Pets_1") == 1
    assert "A stack cannot be called 'Pets_1'" in capsys.readouterr().err
    assert deploy("pets", "KeepDay=3") == 1
    assert "'KeepDay=3' is not PARAMETER=VALUE with a parameter of the stack: ImagesPrefix," in capsys.readouterr().err
