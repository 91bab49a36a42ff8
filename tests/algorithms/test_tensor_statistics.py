from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from residual_network import ResidualNetwork
from tensor_statistics import TensorStatistics, figures


def rows_of(network: ResidualNetwork, folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What one step of a network leaves."""
    statistics = TensorStatistics(network, folder)
    with statistics.outputs() as outputs:
        loss = network(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))).square().sum()
    loss.backward()
    statistics.write_tensors(1, 7, outputs)
    rows = [json.loads(line) for line in (folder / "tensors.jsonl").read_text().splitlines()]
    assert {(row["epoch"], row["step"]) for row in rows} == {(1, 7)}
    return {(row["layer"], row["tensor"]): row for row in rows}


@pytest.fixture
def network() -> ResidualNetwork:
    torch.manual_seed(0)
    return ResidualNetwork("resnet18", 3)


def test_units_that_never_fire_are_dead(network: ResidualNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        network.bn1.bias[:16] = -100
    rows = rows_of(network, tmp_path)

    assert rows["relu", "output"]["dead"] == pytest.approx(0.25)
    assert rows["layer4.1", "output"]["dead"] < 0.1
    assert rows["relu", "output"]["zeros"] > 0.25


def test_a_gradient_that_vanishes_is_seen_in_the_first_layers(network: ResidualNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        network.layer4[1].bn2.weight.zero_()
        network.layer4[0].bn2.weight.zero_()
        network.layer4[0].downsample[1].weight.zero_()
    rows = rows_of(network, tmp_path)

    assert rows["conv1", "gradient"]["norm"] == 0
    assert rows["conv1", "weight"]["norm"] > 0


def test_a_layer_that_is_frozen_has_no_gradient(network: ResidualNetwork, tmp_path: Path) -> None:
    network.freeze(True)
    rows = rows_of(network, tmp_path)

    assert {layer for layer, tensor in rows if tensor == "gradient"} == {"fc"}


def test_nothing_is_observed_outside_the_context(network: ResidualNetwork, tmp_path: Path) -> None:
    statistics = TensorStatistics(network, tmp_path)
    with statistics.outputs() as outputs:
        pass
    network(torch.zeros(2, 3, 32, 32))

    assert outputs == {}


def test_figures_are_those_of_the_values() -> None:
    found = figures(torch.tensor([0.0, 3.0, -4.0, 1.0]))

    assert found == pytest.approx(
        {"mean": 0, "std": 2.94392, "smallest": -4, "largest": 3, "norm": 5.09902, "zeros": 0.25}
    )
