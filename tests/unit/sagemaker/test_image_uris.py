from __future__ import annotations

import pytest

from include.sagemaker.image_uris import UnknownRegionError, algorithm_image, registry_accounts


def test_every_region_of_the_table_has_an_image() -> None:
    ours = {region: algorithm_image(region) for region in registry_accounts()}
    assert ours["us-east-1"] == "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
    assert ours["cn-north-1"].endswith(".dkr.ecr.cn-north-1.amazonaws.com.cn/image-classification:1")


def test_an_unknown_region_names_the_nearest() -> None:
    with pytest.raises(UnknownRegionError, match=r"no image classification in region 'eu-centrl-1'; .*eu-central-1"):
        algorithm_image("eu-centrl-1")
