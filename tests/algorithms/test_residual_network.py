from __future__ import annotations

import pytest
import torch

from residual_network import FORMS, ResidualNetwork

TORCHVISION = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160}
"""Parameters of torchvision's networks for 1,000 classes, as its documentation lists them."""


@pytest.mark.parametrize("name", FORMS)
def test_a_network_has_as_many_weights_as_torchvisions(name: str) -> None:
    with torch.device("meta"):
        network = ResidualNetwork(name, 1000)

    assert sum(parameter.numel() for parameter in network.parameters()) == TORCHVISION[name]


def test_the_weights_have_torchvisions_names() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in ResidualNetwork("resnet50", 1000).state_dict().items()}

    assert len(shapes) == 320
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer1.0.downsample.1.running_var"] == (256,)
    assert shapes["layer3.5.conv3.weight"] == (1024, 256, 1, 1)
    assert shapes["layer4.2.bn3.num_batches_tracked"] == ()
    assert shapes["fc.weight"] == (1000, 2048)


def test_a_basic_network_has_no_shortcut_convolution_where_none_is_needed() -> None:
    with torch.device("meta"):
        names = ResidualNetwork("resnet34", 2).state_dict()

    assert "layer1.0.downsample.0.weight" not in names
    assert "layer2.0.downsample.0.weight" in names


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_scores_are_one_row_for_each_image_of_any_size(name: str) -> None:
    network = ResidualNetwork(name, 5).eval()

    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 40, 24)).shape == (2, 5)
