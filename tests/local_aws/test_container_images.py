from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.sagemaker.containers import algorithm_image, registry_accounts
from local_aws.aws_errors import AwsError
from local_aws.container_images import (
    ALGORITHM_ACCOUNTS,
    Command,
    ContainerImages,
    ImageMappingError,
    parse_mappings,
)
from tests.support.local_aws import ALGORITHM_IMAGE

PROJECT = Path("/project")
OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
PYTORCH = "763104351884.dkr.ecr.us-east-1.amazonaws.com"


def words(images: ContainerImages, image: str, verb: str = "train", **algorithm: list[str]) -> list[str]:
    return [*images.command(image, verb, algorithm).words]


def test_the_algorithm_of_aws_runs_in_the_environment_of_mxnet() -> None:
    command = ContainerImages({}, root=PROJECT).command(ALGORITHM_IMAGE, "train")

    assert command == Command(
        ("/project/.venv-mxnet/bin/python", "-m", "containers.image_classification", "train"), PROJECT
    )


def test_the_algorithm_of_aws_is_the_image_of_its_own_accounts_alone() -> None:
    images = ContainerImages({})
    accounts = registry_accounts()
    assert accounts == ALGORITHM_ACCOUNTS
    for region in accounts:
        assert images.is_built_in_algorithm(algorithm_image(region))
        assert images.is_built_in_algorithm(algorithm_image(region).replace(":1", f"@sha256:{'a' * 64}"))
    for other in (
        "image-classification",
        f"{OWN}/image-classification:1",
        f"{accounts['us-east-1']}.dkr.ecr.eu-west-1.amazonaws.com/image-classification:1",
        f"{accounts['us-east-1']}.dkr.ecr.us-east-1.amazonaws.com/team/image-classification:1",
        f"{accounts['us-east-1']}.dkr.ecr.us-east-1.amazonaws.com/image-classification-neo:1",
    ):
        assert not images.is_built_in_algorithm(other)
        with pytest.raises(AwsError, match="not found"):
            images.command(other, "train")


def test_the_pytorch_images_of_aws_run_in_the_environment_of_pytorch() -> None:
    images = ContainerImages({}, root=PROJECT)
    china = "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn"

    for registry in (PYTORCH, china):
        training = words(images, f"{registry}/pytorch-training:2.8.0-gpu-py312-cu129-ubuntu22.04-sagemaker")
        assert training[0] == "/project/.venv-pytorch/bin/python"
        assert training[-1] == "train"
        assert words(images, f"{registry}/pytorch-inference@sha256:{'a' * 64}", "serve")[-1] == "serve"
    for other in ("pytorch-training:2.8.0", f"{OWN}/pytorch-training:2.8.0", f"{PYTORCH}/team/pytorch-training:2.8.0"):
        with pytest.raises(AwsError, match="not found"):
            images.command(other, "train")


def test_a_pytorch_image_does_only_what_it_is_made_for() -> None:
    with pytest.raises(AwsError, match="is there to serve: it has no `train`"):
        ContainerImages({}).command(f"{PYTORCH}/pytorch-inference:2.6.0", "train")


def test_an_unknown_image_says_how_to_map_it() -> None:
    with pytest.raises(AwsError, match=r"Requested image .*/mine:2 not found.*--image 'mine=COMMAND'"):
        ContainerImages({}).command(f"{OWN}/mine:2", "train")


def test_the_most_exact_mapping_wins_and_any_mapping_over_aws() -> None:
    images = ContainerImages(
        {"mine": ["any"], "mine:2": ["second"], "registry.example/mine:3": ["third"], "pytorch-training": ["own"]}
    )
    assert words(images, "registry.example/mine:1", "serve") == ["any", "serve"]
    assert words(images, "registry.example/mine:2", "serve") == ["second", "serve"]
    assert words(images, "registry.example/mine:3", "serve") == ["third", "serve"]
    assert words(images, f"{PYTORCH}/pytorch-training:2.8.0") == ["own", "train"]


def test_an_entry_point_of_the_request_replaces_the_images() -> None:
    images = ContainerImages({"mine": ["python", "main.py"]}, root=PROJECT)
    entry = {"ContainerEntrypoint": ["/bin/bash"], "ContainerArguments": ["-c", "echo"]}

    assert words(images, "mine:1", **entry) == ["/bin/bash", "-c", "echo"]
    assert words(images, "mine:1", ContainerEntrypoint=["/bin/bash"]) == ["/bin/bash"]
    assert words(images, "mine:1", ContainerArguments=["train", "--fast"]) == ["python", "main.py", "train", "--fast"]
    # The image's environment stays: in AWS's image the entry point finds its Python on PATH.
    inside = words(images, f"{PYTORCH}/pytorch-training:2.8.0", **entry)
    assert inside[0] == "/project/.venv-pytorch/bin/python"
    assert inside[-3:] == ["/bin/bash", "-c", "echo"]


def test_mappings_are_read_from_the_command_line_and_the_environment() -> None:
    environment = {"LOCAL_AWS_IMAGES": "a=python -m a; b=python -m b"}
    assert parse_mappings(["a=python '-m x'"], environment) == {"a": ["python", "-m x"], "b": ["python", "-m", "b"]}


def test_a_mapping_without_a_command_is_refused() -> None:
    with pytest.raises(ImageMappingError, match="'mine=' is not REPOSITORY=COMMAND"):
        parse_mappings(["mine="], {})


def local_file(folder: Path, document: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "local.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return folder


def test_the_local_json_of_an_algorithm_says_how_its_image_runs(tmp_path: Path) -> None:
    flowers = local_file(
        tmp_path / "algorithms" / "flowers", {"repository": "flowers-classifier", "command": ["./run", "--quiet"]}
    )
    images = ContainerImages({}, root=tmp_path)

    command = images.command(f"{OWN}/flowers-classifier@sha256:{'a' * 64}", "train")

    assert command == Command(("./run", "--quiet", "train"), flowers)


def test_a_mapping_may_name_the_folder_of_an_algorithm(tmp_path: Path) -> None:
    elsewhere = local_file(tmp_path / "elsewhere", {"repository": "ignored", "command": ["python3", "main.py"]})
    images = ContainerImages({"team/mine": [str(elsewhere)]}, root=tmp_path)

    assert images.command(f"{OWN}/team/mine:1", "serve") == Command(("python3", "main.py", "serve"), elsewhere)


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ("{", "cannot be read"),
        ([], "must be an object with the fields command, repository"),
        ({"repository": "a"}, "must be an object with the fields command, repository"),
        ({"repository": "a", "command": ["b"], "args": []}, "must be an object with the fields command, repository"),
        ({"repository": "", "command": ["b"]}, "repository must be the name of a repository, not ''"),
        ({"repository": "a", "command": "python main.py"}, "command must be a list of words, not 'python main.py'"),
        ({"repository": "a", "command": []}, r"command must be a list of words, not \[\]"),
    ],
)
def test_a_local_json_that_says_something_else_is_named(tmp_path: Path, document: object, wrong: str) -> None:
    local_file(tmp_path / "algorithms" / "flowers", document)

    with pytest.raises(ImageMappingError, match=rf"algorithms/flowers/local\.json.*{wrong}"):
        ContainerImages({}, root=tmp_path)


def test_two_algorithms_of_one_repository_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        local_file(tmp_path / "algorithms" / name, {"repository": "same", "command": ["run"]})

    with pytest.raises(ImageMappingError, match=r"algorithms/b/local\.json: .* has the repository 'same' too"):
        ContainerImages({}, root=tmp_path)
