"""Loss, optimizer and learning rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from hyperparameters import COSINE, SGD, STEP, Hyperparameters
from record_files import Labels

MOST_WEIGHT = 100.0
"""Largest weight of a class: one image among a million would drown all others."""


class Loss:
    """The mean loss of a batch: cross entropy of one class, or binary cross entropy of every class.

    With `labels`, those of all training images, every class counts as if it had as many images as the others;
    for several labels, as if images had and lacked it equally often.
    """

    def __init__(self, chosen: Hyperparameters, classes: int, labels: Labels | None, device: Any) -> None:
        self._multi_label = chosen.multi_label
        self._smoothing = chosen.label_smoothing
        self._positive = self._negative = None
        if labels is None:
            return
        if chosen.multi_label:
            positive, negative = balancing_weights(labels)
            self._positive, self._negative = (
                torch.tensor(positive, device=device),
                torch.tensor(negative, device=device),
            )
        else:
            self._positive = torch.tensor(class_weights(labels, classes), device=device)

    def __call__(self, scores: Any, targets: Any) -> Any:
        """The loss of scores (images, classes) for classes (images,), or for rows of 0 and 1 (images, classes)."""
        if not self._multi_label:
            return nn.functional.cross_entropy(scores, targets, weight=self._positive, label_smoothing=self._smoothing)
        weight = None
        if self._positive is not None:
            weight = targets * self._positive + (1 - targets) * self._negative
        smooth = targets * (1 - self._smoothing) + self._smoothing / 2
        return nn.functional.binary_cross_entropy_with_logits(scores, smooth, weight=weight)


def class_weights(labels: Labels, classes: int) -> Labels:
    """A weight for each class: images of a class if all had as many, by images it has; 1 for a class without any."""
    counts = np.bincount(labels[:, 0].astype(np.int64), minlength=classes)
    fair = len(labels) / max(1, int((counts > 0).sum()))
    return np.where(counts > 0, np.minimum(fair / np.maximum(counts, 1), MOST_WEIGHT), 1).astype(np.float32)


def balancing_weights(labels: Labels) -> tuple[Labels, Labels]:
    """Weights of a class's images and of the others that give both the same say; 1 for a class with one kind only."""
    kinds: list[Labels] = [labels.sum(axis=0), (1 - labels).sum(axis=0)]
    both = np.minimum(*kinds) > 0
    weights = [np.minimum(len(labels) / (2 * kind.clip(min=1)), MOST_WEIGHT) for kind in kinds]
    first, second = (np.where(both, weight, 1).astype(np.float32) for weight in weights)
    return first, second


def make_optimizer(network: Any, chosen: Hyperparameters) -> Any:
    """The optimizer of all weights; biases and batch normalization are not pulled to zero."""
    parameters = list(network.parameters())
    groups = [
        {"params": [weight for weight in parameters if weight.ndim > 1], "weight_decay": chosen.weight_decay},
        {"params": [weight for weight in parameters if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if chosen.optimizer == SGD:
        return torch.optim.SGD(groups, lr=chosen.lr, momentum=chosen.momentum, nesterov=chosen.momentum > 0)
    return torch.optim.AdamW(groups, lr=chosen.lr)


def learning_rate(chosen: Hyperparameters, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over all epochs."""
    warm_up = round(chosen.warmup_epochs * steps_per_epoch)
    if step < warm_up:
        return chosen.lr * (step + 1) / warm_up
    if chosen.schedule == COSINE:
        whole = chosen.epochs * steps_per_epoch - warm_up
        return chosen.lr * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, whole)))
    if chosen.schedule == STEP:
        return float(chosen.lr * chosen.step_factor ** (step // steps_per_epoch // chosen.step_epochs))
    return chosen.lr
