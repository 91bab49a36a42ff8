"""The training itself: epochs of batches through the network, validation, the model that is kept."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .batches import Batches
from .checkpoints import Checkpoints, Progress
from .config import Config
from .images import Images
from .job_folders import JobError, JobFolders
from .model_files import TrainedModel, save_model
from .networks import build_network, compile_network
from .stopping import StopRequest

log = logging.getLogger(__name__)


class Training:
    """Trains a model until the last epoch, an early stop or a request to stop.

    The model folder always holds the epoch with the best validation accuracy, the first of equal ones.
    """

    def __init__(
        self, start: TrainedModel, train: Images, validation: Images, *, folders: JobFolders, stop: StopRequest
    ) -> None:
        self._config = start.config
        self._train_images, self._validation_images = train, validation
        self._stop = stop
        self._folders = folders
        self._checkpoints = Checkpoints(folders.checkpoints, start.config, start.classes)
        self._progress = Progress()
        self._best = start
        self._network = build_network(start.config, len(start.classes), start.config.precision)
        self._network.set_weights(start.network.get_weights())
        self._frozen: bool | None = None
        self._has_diverged = False
        self._class_weights = class_weights(train, len(start.classes)) if self._config.class_weights != "none" else None

    @property
    def history(self) -> list[dict[str, float]]:
        """A row of figures for each finished epoch."""
        return self._progress.history

    def run(self) -> TrainedModel | None:
        """Train, from the checkpoint if there is one; the best model, or None if the service asked to stop."""
        self._resume()
        while self._progress.epoch < self._config.epochs and not self._is_over():
            if not self._train_epoch():
                self._save_when_stopped()
                return None
        self._checkpoints.copy_to(self._folders.output / "checkpoint")
        return self._best

    def _resume(self) -> None:
        progress = self._checkpoints.read()
        if progress is None:
            return
        # At the end of an epoch the optimizer is still that epoch's.
        self._prepare(progress.epoch if progress.step else progress.epoch - 1)
        self._network.optimizer.build(self._network.trainable_variables)
        self._checkpoints.load(self._network, self._best.network)
        self._progress = progress
        log.info("Continuing from the checkpoint: epoch %d, step %d", progress.epoch, progress.step)
        if progress.best_accuracy is not None:
            save_model(self._folders.model, self._best)

    def _prepare(self, epoch: int) -> None:
        """Compile the network where more or fewer layers learn than before, and set the epoch's learning rate."""
        frozen = epoch < self._config.freeze_epochs
        if frozen != self._frozen:
            compile_network(self._network, self._config, frozen=frozen)
            if self._frozen:
                log.info("Epoch[%d] All layers learn from here on", epoch)
            self._frozen = frozen
        self._network.optimizer.learning_rate = learning_rate(self._config, epoch)

    def _train_epoch(self) -> bool:
        """One epoch with its log lines and its checkpoint; False if the service asked to stop."""
        started, epoch = time.perf_counter(), self._progress.epoch
        self._prepare(epoch)
        self._learn(epoch)
        if self._stop.came:
            return False
        loss, accuracy = self._progress.loss, self._progress.accuracy
        log.info("Epoch[%d] Train-loss=%f", epoch, loss)
        log.info("Epoch[%d] Train-accuracy=%f", epoch, accuracy)
        if not math.isfinite(loss):
            self._end_diverged(epoch)
            return True
        row = {"epoch": epoch, "train_loss": loss, "train_accuracy": accuracy}
        row["learning_rate"] = learning_rate(self._config, epoch)
        images = Batches(self._validation_images, self._config)
        found = self._network.evaluate(images, return_dict=True, callbacks=[self._stop], verbose=0)
        if self._stop.came:
            return False
        row |= {"validation_loss": found["loss"], "validation_accuracy": found["accuracy"]}
        row["seconds"] = time.perf_counter() - started
        log.info("Epoch[%d] Time cost=%.3f", epoch, row["seconds"])
        log.info("Epoch[%d] Validation-loss=%f", epoch, row["validation_loss"])
        log.info("Epoch[%d] Validation-accuracy=%f", epoch, row["validation_accuracy"])
        self._keep(row)
        return True

    def _learn(self, epoch: int) -> None:
        """The steps of an epoch that are left, and the figures of all of its steps."""
        before = self._progress
        batches = Batches(self._train_images, self._config, epoch=epoch, first=before.step)
        if not len(batches):
            return
        history = self._network.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            class_weight=self._class_weights,
            callbacks=[self._stop],
            verbose=0,
        ).history
        step = before.step + self._stop.steps
        share = self._images_of(before.step) / self._images_of(step)
        self._progress = replace(
            before,
            step=step,
            loss=share * before.loss + (1 - share) * history["loss"][0],
            accuracy=share * before.accuracy + (1 - share) * history["accuracy"][0],
        )

    def _images_of(self, steps: int) -> int:
        return min(steps * self._config.batch_size, len(self._train_images.labels))

    def _keep(self, row: dict[str, float]) -> None:
        """Save the model if it is the best, and the checkpoint."""
        accuracy, best = row["validation_accuracy"], self._progress.best_accuracy
        without, history = self._progress.epochs_without + 1, [*self._progress.history, row]
        if best is None or accuracy > best:
            log.info("Epoch[%d] Kept: the best validation accuracy so far, %f", row["epoch"], accuracy)
            self._best.network.set_weights(self._network.get_weights())
            save_model(self._folders.model, self._best)
            best, without = accuracy, 0
        self._progress = Progress(
            epoch=self._progress.epoch + 1, best_accuracy=best, epochs_without=without, history=history
        )
        self._checkpoints.write(self._progress, self._network, self._best.network)

    def _end_diverged(self, epoch: int) -> None:
        remedy = f"Lower learning_rate={self._config.learning_rate:g} or set clip_norm."
        if self._progress.best_accuracy is None:
            raise JobError(f"The loss is not a number any more in epoch {epoch}. {remedy}")
        log.warning("The loss is not a number any more: training ends, and an earlier epoch's model stays. %s", remedy)
        self._has_diverged = True

    def _is_over(self) -> bool:
        if self._has_diverged:
            return True
        patience = self._config.early_stopping_patience
        over = 0 < patience <= self._progress.epochs_without
        if over:
            last = self._progress.epoch - 1
            log.info("Early stopping after epoch %d: %d epochs without a better accuracy", last, patience)
        return over

    def _save_when_stopped(self) -> None:
        """Keep what an unfinished epoch learned."""
        log.info("Stopping in epoch %d after step %d, as the service asked", self._progress.epoch, self._progress.step)
        if self._progress.best_accuracy is None:
            self._best.network.set_weights(self._network.get_weights())
            save_model(self._folders.model, self._best)
        self._checkpoints.write(self._progress, self._network, self._best.network)


def learning_rate(config: Config, epoch: int) -> float:
    """The learning rate of an epoch."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def class_weights(images: Images, classes: int) -> dict[int, float]:
    """A weight for each class with which every class counts as much as the others, whatever its number of images."""
    counts = np.bincount(images.labels, minlength=classes)
    present = int((counts > 0).sum())
    return {number: len(images.labels) / (present * count) if count else 0.0 for number, count in enumerate(counts)}


def predicted(model: TrainedModel, images: Images) -> NDArray[np.int64]:
    """The class that a model gives each image."""
    probabilities = np.asarray(model.network.predict(Batches(images, model.config), verbose=0))
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
