from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hyperparameters import Hyperparameters
from optimization import Loss, balancing_weights, class_weights, learning_rate, make_optimizer
from residual_network import ResidualNetwork

CPU = torch.device("cpu")


def rates(**chosen: object) -> list[float]:
    """The learning rate at the first step of each epoch of ten steps."""
    hyperparameters = Hyperparameters(lr=1.0, epochs=4, **chosen)  # type: ignore[arg-type]
    return [learning_rate(hyperparameters, step, 10) for step in range(0, 40, 10)]


def test_the_learning_rate_falls_as_chosen() -> None:
    assert rates(schedule="constant") == [1, 1, 1, 1]
    assert rates(schedule="step", step_epochs=2, step_factor=0.5) == [1, 1, 0.5, 0.5]
    assert rates(schedule="cosine") == pytest.approx([1, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2])


def test_the_learning_rate_rises_step_by_step_in_the_warm_up() -> None:
    chosen = Hyperparameters(lr=1.0, epochs=4, warmup_epochs=0.5)

    assert [learning_rate(chosen, step, 10) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert learning_rate(chosen, 39, 10) < 0.01


def test_rare_classes_weigh_more_and_absent_ones_nothing_special() -> None:
    labels = np.array([[0], [0], [0], [2]], dtype=np.float32)

    assert class_weights(labels, 3).tolist() == pytest.approx([2 / 3, 1, 2])


def test_images_of_a_class_weigh_as_much_as_all_others() -> None:
    labels = np.array([[1, 0], [0, 0], [0, 0], [0, 0]], dtype=np.float32)
    positive, negative = balancing_weights(labels)

    assert positive.tolist() == pytest.approx([2, 1])
    assert negative.tolist() == pytest.approx([2 / 3, 1])


def test_a_weighted_loss_is_that_of_balanced_images() -> None:
    scores, targets = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
    labels = targets.numpy().astype(np.float32).reshape(-1, 1)
    weighted = Loss(Hyperparameters(weighted_loss=True), 2, labels, CPU)(scores, targets)

    each = torch.nn.functional.cross_entropy(scores, targets, reduction="none")
    assert float(weighted) == pytest.approx(float((each[0] + each[1]) / 4 + each[2] / 2))


def test_smoothing_takes_certainty_from_the_labels() -> None:
    scores, targets = torch.tensor([[9.0, -9.0]]), torch.tensor([[1.0, 0.0]])
    plain, smooth = (
        float(Loss(Hyperparameters(multi_label=True, label_smoothing=share), 2, None, CPU)(scores, targets))
        for share in (0.0, 0.2)
    )

    assert plain < 0.001
    assert smooth == pytest.approx(0.9, rel=0.01)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_weights_of_layers_are_pulled_to_zero(optimizer: str) -> None:
    with torch.device("meta"):
        network = ResidualNetwork("resnet18", 2)
    pulled, free = make_optimizer(network, Hyperparameters(optimizer=optimizer, weight_decay=0.3)).param_groups

    assert (pulled["weight_decay"], free["weight_decay"]) == (0.3, 0)
    assert {weight.ndim for weight in free["params"]} == {1}
    assert len(pulled["params"]) + len(free["params"]) == len(list(network.parameters()))
