"""Whether the service asked to stop."""

from __future__ import annotations

import signal

import keras


class StopRequest(keras.callbacks.Callback):
    """Notes SIGTERM, and ends training or validation after the step at hand: SageMaker kills 120 seconds later.

    `steps` counts the training steps that were finished since the last epoch began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.came = False
        self.steps = 0
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.came = True

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 - Keras' signature
        """Begin to count."""
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
        """Count, and end the epoch if the service asked."""
        self.steps += 1
        self.model.stop_training = self.came

    def on_test_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
        """End the validation if the service asked."""
        self.model.stop_evaluating = self.came
