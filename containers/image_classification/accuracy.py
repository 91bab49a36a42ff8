"""Accuracy as the algorithm reports it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGMOID_THRESHOLD = 0.5
QUEUED_BATCHES = 4


@dataclass
class Accuracy:
    """Counts right answers over an epoch.

    Single label: the most probable class is the label; with `top_k`, also: the label is among the k most probable.
    Multi-label: every class of every image counts once, right when probability 0.5 and label say the same.
    """

    multi_label: bool
    top_k: int | None = None
    counted: int = 0
    right: int = 0
    right_in_top_k: int = 0
    _waiting: deque[tuple[Any, Any]] = field(default_factory=deque)

    def add_later(self, probabilities: Any, labels: Any) -> None:
        """Take in a batch that MXNet is still computing; it is counted once QUEUED_BATCHES more have been queued.

        Waiting for each batch at once would leave the machine idle between batches.
        """
        self._waiting.append((probabilities, labels))
        self._count_all_but(QUEUED_BATCHES)

    def _count_all_but(self, waiting: int) -> None:
        while len(self._waiting) > waiting:
            probabilities, labels = self._waiting.popleft()
            self.add(probabilities.asnumpy(), labels.asnumpy())

    def add(self, probabilities: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Count a batch: probabilities (batch, classes); labels (batch,) or, multi-label, (batch, classes)."""
        if self.multi_label:
            self.right += int(((probabilities >= SIGMOID_THRESHOLD) == (labels >= SIGMOID_THRESHOLD)).sum())
            self.counted += labels.size
            return
        self.right += int((probabilities.argmax(axis=1) == labels).sum())
        self.counted += len(labels)
        if self.top_k:
            best = np.argpartition(probabilities, -self.top_k, axis=1)[:, -self.top_k :]
            self.right_in_top_k += int((best == labels[:, None]).any(axis=1).sum())

    @property
    def value(self) -> float:
        """The fraction that was right of what has been counted."""
        return self.right / max(1, self.counted)

    def named_values(self) -> list[tuple[str, float]]:
        """Name and value of each figure over all batches, `accuracy` first."""
        self._count_all_but(0)
        figures = [("accuracy", self.value)]
        if self.top_k:
            figures.append((f"top_k_accuracy_{self.top_k}", self.right_in_top_k / max(1, self.counted)))
        return figures
