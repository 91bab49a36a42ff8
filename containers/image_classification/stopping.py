"""Ending early: because the service asks for it, or because accuracy no longer rises."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

STOP_DEADLINE = 90.0
"""Seconds from SIGTERM to the latest exit; the service kills after 120."""


class StopRequest:
    """Whether SIGTERM came.

    A thread waits for the signal, so that it is seen also while the main thread computes; when the main thread has not
    come to an end STOP_DEADLINE seconds later, `on_deadline` gives the exit code and the process ends.
    """

    def __init__(self, on_deadline: Callable[[], int]) -> None:
        self._requested = threading.Event()
        self._on_deadline = on_deadline

    def listen(self) -> None:
        """Start to wait. Call it in the main thread before others start: they inherit the blocked signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait, name="stop-request", daemon=True).start()

    def is_set(self) -> bool:
        """Whether the service asked to stop."""
        return self._requested.is_set()

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        self._requested.set()
        threading.Event().wait(STOP_DEADLINE)
        os._exit(self._on_deadline())


@dataclass
class EarlyStopping:
    """Counts the epochs without a worthwhile improvement of the validation accuracy.

    An improvement counts when it is above zero and, relative to the best accuracy before, not below `tolerance`.
    """

    min_epochs: int
    patience: int
    tolerance: float
    best: float | None = None
    epochs_without: int = 0

    def should_stop(self, epoch: int, accuracy: float) -> bool:
        """Take in the accuracy after `epoch` (1-based)."""
        if self.best is None or self._improved(accuracy, self.best):
            self.best, self.epochs_without = accuracy, 0
        else:
            self.epochs_without += 1
        return epoch >= self.min_epochs and self.epochs_without >= self.patience

    def _improved(self, accuracy: float, best: float) -> bool:
        gain = accuracy - best
        return gain > 0 and gain >= self.tolerance * best
