from __future__ import annotations

from pathlib import Path

import pytest

from include.sagemaker.image_uris import algorithm_image, registry_accounts
from local_aws.aws_errors import AwsError
from local_aws.container_images import ALGORITHM_ACCOUNTS, ContainerImages, ImageMappingError, parse_mappings
from tests.support.local_aws import ALGORITHM_IMAGE


@pytest.mark.parametrize(
    "image",
    [
        ALGORITHM_IMAGE,
        "685385470294.dkr.ecr.eu-west-1.amazonaws.com/image-classification:latest",
        "image-classification",
        f"123456789012.dkr.ecr.us-east-1.amazonaws.com/team/image-classification@sha256:{'a' * 64}",
    ],
)
def test_a_repository_of_that_name_runs_the_algorithm_in_every_registry(image: str) -> None:
    images = ContainerImages({}, root=Path("/project"))
    assert images.command(image, "train") == [
        "/project/.venv-mxnet/bin/python", "-m", "containers.image_classification", "train",
    ]  # fmt: skip


def test_the_algorithm_of_aws_is_the_image_of_its_own_accounts_alone() -> None:
    images = ContainerImages({})
    accounts = registry_accounts()
    assert accounts == ALGORITHM_ACCOUNTS
    for region in accounts:
        assert images.is_built_in_algorithm(algorithm_image(region))
        assert images.is_built_in_algorithm(algorithm_image(region).replace(":1", f"@sha256:{'a' * 64}"))
    for other in (
        "image-classification",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/image-classification:1",
        f"{accounts['us-east-1']}.dkr.ecr.eu-west-1.amazonaws.com/image-classification:1",
        f"{accounts['us-east-1']}.dkr.ecr.us-east-1.amazonaws.com/team/image-classification:1",
        f"{accounts['us-east-1']}.dkr.ecr.us-east-1.amazonaws.com/image-classification-neo:1",
    ):
        assert not images.is_built_in_algorithm(other)


def test_an_unknown_image_says_how_to_map_it() -> None:
    with pytest.raises(AwsError, match=r"Requested image .*/mine:2 not found.*--image 'mine=COMMAND'"):
        ContainerImages({}).command("123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:2", "train")


def test_the_most_exact_mapping_wins() -> None:
    images = ContainerImages({"mine": ["any"], "mine:2": ["second"], "registry.example/mine:3": ["third"]})
    assert images.command("registry.example/mine:1", "serve") == ["any", "serve"]
    assert images.command("registry.example/mine:2", "serve") == ["second", "serve"]
    assert images.command("registry.example/mine:3", "serve") == ["third", "serve"]


def test_mappings_are_read_from_the_command_line_and_the_environment() -> None:
    environment = {"LOCAL_AWS_IMAGES": "a=python -m a; b=python -m b"}
    assert parse_mappings(["a=python '-m x'"], environment) == {"a": ["python", "-m x"], "b": ["python", "-m", "b"]}


def test_a_mapping_without_a_command_is_refused() -> None:
    with pytest.raises(ImageMappingError, match="'mine=' is not REPOSITORY=COMMAND"):
        parse_mappings(["mine="], {})
