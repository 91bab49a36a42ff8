from __future__ import annotations

import subprocess
import sys

import pytest

from include.sagemaker.image_uris import UnknownRegionError, algorithm_image, registry_accounts


def test_every_region_of_the_table_has_an_image() -> None:
    ours = {region: algorithm_image(region) for region in registry_accounts()}
    assert ours["us-east-1"] == "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
    assert ours["cn-north-1"].endswith(".dkr.ecr.cn-north-1.amazonaws.com.cn/image-classification:1")


def test_an_unknown_region_names_the_nearest() -> None:
    with pytest.raises(UnknownRegionError, match=r"no image classification in region 'eu-centrl-1'; .*eu-central-1"):
        algorithm_image("eu-centrl-1")


def test_the_sdk_is_not_imported_for_it() -> None:
    code = "import sys, include.sagemaker.image_uris as a; a.algorithm_image('us-east-1'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sagemaker" not in done.stdout.split()
