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
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with statistics.outputs():
        loss = network(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))).square().sum()
    loss.backward()
    statistics.gather_weights()
    optimizer.step()
    statistics.write(1, 7)
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
    assert rows["layer4.1.relu.2", "output"]["dead"] < 0.1
    assert rows["relu", "output"]["zeros"] > 0.25


def test_each_call_of_a_rectifier_shows_the_spread_of_what_it_got(network: ResidualNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        network.layer1[0].bn1.weight.fill_(0.01)
    rows = rows_of(network, tmp_path)

    assert len([layer for layer, tensor in rows if tensor == "output"]) == 17
    assert rows["relu", "output"]["input_std"] == pytest.approx(1, abs=0.05)
    assert rows["layer1.0.relu", "output"]["input_std"] == pytest.approx(0.01, abs=0.005)


def test_a_gradient_that_vanishes_is_seen_in_the_first_layers(network: ResidualNetwork, tmp_path: Path) -> None:
    with torch.no_grad():
        network.layer4[1].bn2.weight.zero_()
        network.layer4[0].bn2.weight.zero_()
        network.layer4[0].downsample[1].weight.zero_()
    rows = rows_of(network, tmp_path)

    assert rows["conv1", "gradient"]["norm"] == 0
    assert rows["conv1", "weight"]["norm"] > 0
    assert rows["conv1", "weight"]["update"] == 0


def test_an_update_is_measured_against_the_weights(network: ResidualNetwork, tmp_path: Path) -> None:
    rows = rows_of(network, tmp_path)
    weight, gradient = rows["fc", "weight"], rows["fc", "gradient"]

    assert weight["update"] == pytest.approx(0.1 * gradient["norm"] / weight["norm"], rel=1e-4)


def test_a_layer_that_is_frozen_has_no_gradient(network: ResidualNetwork, tmp_path: Path) -> None:
    network.freeze(True)
    rows = rows_of(network, tmp_path)

    assert {layer for layer, tensor in rows if tensor == "gradient"} == {"fc"}
    assert "update" not in rows["conv1", "weight"]


def test_nothing_is_observed_outside_the_context(network: ResidualNetwork, tmp_path: Path) -> None:
    statistics = TensorStatistics(network, tmp_path)
    with statistics.outputs():
        pass
    network(torch.zeros(2, 3, 32, 32))

    assert statistics.write(0, 0) == []


def test_figures_are_those_of_the_values() -> None:
    found = figures(torch.tensor([0.0, 3.0, -4.0, 1.0]))

    expected = {"mean": 0, "abs_mean": 2, "std": 2.54951, "smallest": -4, "largest": 3, "norm": 5.09902}
    assert found == pytest.approx({**expected, "zeros": 0.25, "nonfinite": 0})


def test_figures_that_are_not_finite_are_left_empty_and_counted() -> None:
    found = figures(torch.tensor([0.0, float("inf"), float("nan"), 1.0]))

    assert found["mean"] is None
    assert found["nonfinite"] == 0.5
    json.dumps(found, allow_nan=False)
