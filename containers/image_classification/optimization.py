"""How weights are initialised and updated."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from .hyperparameters import Hyperparameters

MAX_CLASS_WEIGHT = 10.0


def initial_weights() -> mx.init.Initializer:
    """He et al.'s initialisation for networks of rectifiers."""
    return mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2)


def optimizer_options(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """The options of MXNet's optimizer of the same name; gradients are averaged over the batch."""
    chosen = hyperparameters
    own: dict[str, dict[str, Any]] = {
        "sgd": {"momentum": chosen.momentum, "wd": chosen.weight_decay},
        "nag": {"momentum": chosen.momentum, "wd": chosen.weight_decay},
        "adam": {"beta1": chosen.beta_1, "beta2": chosen.beta_2, "epsilon": chosen.eps},
        "rmsprop": {"gamma1": chosen.gamma, "epsilon": chosen.eps},
    }
    return own[chosen.optimizer] | {
        "learning_rate": chosen.learning_rate,
        "rescale_grad": 1.0 / chosen.mini_batch_size,
    }


def learning_rate_at(epoch: int, hyperparameters: Hyperparameters) -> float:
    """The rate of an epoch (0-based): multiplied by lr_scheduler_factor at every step that has passed."""
    passed = sum(epoch >= step for step in hyperparameters.lr_scheduler_step or ())
    return float(hyperparameters.learning_rate * hyperparameters.lr_scheduler_factor**passed)


def class_weights(labels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of a class's positive and negative labels that give both the same say, at most MAX_CLASS_WEIGHT.

    `labels`: 0/1, (images, classes). Returns two float32 arrays of length classes; 1 where a class has only one kind.
    """
    count = len(labels)
    positive = labels.sum(axis=0)
    negative = count - positive
    both = (positive > 0) & (negative > 0)
    weights = [
        np.where(both, np.minimum(count / (2 * np.maximum(kind, 1)), MAX_CLASS_WEIGHT), 1.0).astype(np.float32)
        for kind in (positive, negative)
    ]
    return weights[0], weights[1]
