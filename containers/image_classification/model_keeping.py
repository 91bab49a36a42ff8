"""Which epochs' weights stay in the model folder."""

from __future__ import annotations

from pathlib import Path

from .logs import algorithm_log
from .model_files import Weights, params_file, save_weights, saved_epochs
from .paths import DEFAULT_BASE_DIR


class ModelKeeper:
    """Keeps the best validation epoch, or, with checkpoint_frequency, every nth epoch and the last one."""

    def __init__(self, folder: Path, checkpoint_frequency: int | None, best_accuracy: float | None = None) -> None:
        self._folder = folder
        self._frequency = checkpoint_frequency
        self.best_accuracy = best_accuracy

    def after_epoch(self, epoch: int, accuracy: float, weights: Weights, *, last: bool) -> None:
        """Take in the weights after `epoch` (1-based)."""
        if self._frequency:
            if epoch % self._frequency == 0 or last:
                self._save(epoch, weights)
            return
        if self.best_accuracy is not None and accuracy <= self.best_accuracy:
            return
        algorithm_log().info("Storing the best model with validation accuracy: %f", accuracy)
        self.best_accuracy = accuracy
        earlier = saved_epochs(self._folder)
        self._save(epoch, weights)
        for outdated, path in earlier.items():
            if outdated != epoch:
                path.unlink()

    def when_stopped(self, epoch: int, weights: Weights) -> None:
        """Keep unfinished weights where no finished epoch has left any."""
        if not saved_epochs(self._folder):
            self._save(epoch, weights)

    def _save(self, epoch: int, weights: Weights) -> None:
        path = params_file(self._folder, epoch)
        save_weights(path, weights)
        # AWS's own line: whatever the root is on this machine, to the job it is /opt/ml.
        algorithm_log().info('Saved checkpoint to "%s/model/%s"', DEFAULT_BASE_DIR, path.name)
