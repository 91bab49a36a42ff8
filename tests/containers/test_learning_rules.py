from __future__ import annotations

import numpy as np
import pytest

from containers.image_classification.accuracy import Accuracy
from containers.image_classification.hyperparameters import Hyperparameters, read_hyperparameters
from containers.image_classification.optimization import class_weights, learning_rate_at, optimizer_options
from containers.image_classification.stopping import EarlyStopping


def chosen(**changes: object) -> Hyperparameters:
    values = {"num_classes": 3, "num_training_samples": 22, "num_layers": 20, "image_shape": "3,28,28"}
    return read_hyperparameters({**values, **changes}).hyperparameters()


def array(*rows: object) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_accuracy_counts_the_most_probable_class() -> None:
    accuracy = Accuracy(multi_label=False, top_k=2)
    accuracy.add(array([0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]), array(0, 1, 0, 0))
    assert accuracy.named_values() == [("accuracy", 0.5), ("top_k_accuracy_2", 0.75)]


def test_multi_label_accuracy_is_averaged_over_classes() -> None:
    accuracy = Accuracy(multi_label=True)
    accuracy.add(array([0.9, 0.5, 0.1], [0.4, 0.6, 0.2]), array([1, 0, 0], [1, 1, 0]))
    assert accuracy.named_values() == [("accuracy", pytest.approx(4 / 6))]


def test_the_learning_rate_falls_at_each_step() -> None:
    steps = chosen(learning_rate=0.8, lr_scheduler_step="2,3", lr_scheduler_factor=0.5)
    assert [learning_rate_at(epoch, steps) for epoch in range(5)] == [0.8, 0.8, 0.4, 0.2, 0.2]
    assert learning_rate_at(99, chosen()) == 0.1


def test_each_optimizer_gets_its_own_hyperparameters() -> None:
    settings = {"momentum": 0.5, "weight_decay": 0.01, "beta_1": 0.2, "beta_2": 0.3, "eps": 0.4, "gamma": 0.6}
    every = {"learning_rate": 0.1, "rescale_grad": 1 / 32}
    own = {
        "sgd": {"momentum": 0.5, "wd": 0.01},
        "nag": {"momentum": 0.5, "wd": 0.01},
        "adam": {"beta1": 0.2, "beta2": 0.3, "epsilon": 0.4},
        "rmsprop": {"gamma1": 0.6, "epsilon": 0.4},
    }
    for name, options in own.items():
        assert optimizer_options(chosen(optimizer=name, **settings)) == options | every


def test_class_weights_give_rare_labels_the_say_of_frequent_ones() -> None:
    labels = np.zeros((100, 4), dtype=np.float32)
    labels[:25, 0] = 1
    labels[:1, 1] = 1
    labels[:, 2] = 1
    positive, negative = class_weights(labels)
    assert positive.tolist() == pytest.approx([2.0, 10.0, 1.0, 1.0])
    assert negative.tolist() == pytest.approx([100 / 150, 100 / 198, 1.0, 1.0])


def stops_after(rule: EarlyStopping, accuracies: list[float]) -> int | None:
    return next((epoch for epoch, value in enumerate(accuracies, 1) if rule.should_stop(epoch, value)), None)


def test_early_stopping_waits_for_its_patience() -> None:
    assert stops_after(EarlyStopping(1, 2, 0.0), [0.5, 0.6, 0.6, 0.55, 0.9]) == 4


def test_early_stopping_waits_for_its_first_epochs() -> None:
    assert stops_after(EarlyStopping(5, 1, 0.0), [0.5, 0.5, 0.5, 0.5, 0.5]) == 5


def test_an_improvement_below_the_tolerance_does_not_count() -> None:
    assert stops_after(EarlyStopping(1, 2, 0.1), [0.5, 0.52, 0.54, 0.9]) == 3
    assert stops_after(EarlyStopping(1, 2, 0.01), [0.5, 0.52, 0.54, 0.9]) is None
