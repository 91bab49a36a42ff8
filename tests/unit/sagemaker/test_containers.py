from __future__ import annotations

import pytest

from include.sagemaker.containers import (
    UnknownImageError,
    UnknownRegionError,
    algorithm_image,
    framework_image,
    framework_versions,
    registry_accounts,
)


def test_every_region_of_the_table_has_an_image() -> None:
    ours = {region: algorithm_image(region) for region in registry_accounts()}
    assert ours["us-east-1"] == "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
    assert ours["cn-north-1"].endswith(".dkr.ecr.cn-north-1.amazonaws.com.cn/image-classification:1")


def test_an_unknown_region_names_the_nearest() -> None:
    with pytest.raises(UnknownRegionError, match=r"no image classification in region 'eu-centrl-1'; .*eu-central-1"):
        algorithm_image("eu-centrl-1")


def test_the_newest_version_of_a_framework_is_taken_unless_one_is_named() -> None:
    newest = framework_versions("pytorch")[-1]
    image = framework_image("pytorch", "training", "eu-central-1")

    assert image.startswith(f"763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-training:{newest}-cpu-py3")
    assert framework_image("pytorch", "training", "eu-central-1", version="2.6").endswith(":2.6.0-cpu-py312")


@pytest.mark.parametrize(
    ("machine", "processor"),
    [
        ("ml.m5.large", "cpu"),
        ("ml.c7i.xlarge", "cpu"),
        ("ml.g5.xlarge", "gpu"),
        ("ml.p4d.24xlarge", "gpu"),
        ("", "cpu"),
    ],
)
def test_a_machine_with_a_gpu_has_an_image_of_its_own(machine: str, processor: str) -> None:
    image = framework_image("pytorch", "inference", "us-east-1", version="2.5.1", machine=machine)

    assert image.endswith(f"/pytorch-inference:2.5.1-{processor}-py311")


def test_a_version_without_an_image_that_answers_is_answered_by_the_newest_before_it() -> None:
    newest = framework_versions("pytorch", "inference")[-1]
    image = framework_image("pytorch", "inference", "us-east-1", version="2.10.0")

    assert newest not in framework_versions("pytorch")[-1:]
    assert f":{newest}-cpu-" in image


def test_a_version_or_a_region_that_aws_does_not_have_is_named() -> None:
    with pytest.raises(
        UnknownImageError, match=r"no pytorch-training image of version 9\.9: it has 2\.0\.0, .*2\.6\.0"
    ):
        framework_image("pytorch", "training", "us-east-1", version="9.9")
    with pytest.raises(
        UnknownImageError, match=r"no pytorch-training image in region 'us-est-1'; did you mean us-west-1"
    ):
        framework_image("pytorch", "training", "us-est-1")
