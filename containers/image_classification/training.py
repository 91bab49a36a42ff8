"""The training loop: epochs of batches through the network, validation, log lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import mxnet as mx

from .accuracy import Accuracy
from .checkpoints import CheckpointFolder, Progress
from .hyperparameters import Hyperparameters
from .image_batches import Batch, Batches
from .logs import algorithm_log
from .model_files import Weights, saved_epochs
from .model_keeping import ModelKeeper
from .optimization import class_weights, initial_weights, learning_rate_at, optimizer_options
from .paths import ContainerPaths
from .records import RecordFile
from .residual_network import LABEL, LOSS_WEIGHT, build_network
from .stopping import EarlyStopping

SPEED_INTERVAL = 20
"""Batches between two lines about speed."""


class Stopped(Exception):
    """The service asked to stop."""


@dataclass(frozen=True)
class TrainingData:
    """Batches for each purpose; `train_records` gives the class frequencies."""

    train: Batches
    validation: Batches
    train_records: RecordFile


class Trainer:
    """Trains one network on one machine; `has_learned` says whether its weights are more than random."""

    def __init__(self, hyperparameters: Hyperparameters, data: TrainingData, stop: Callable[[], bool]) -> None:
        self._chosen = hyperparameters
        self._data = data
        self._stop = stop
        self._loss_weights: tuple[mx.nd.NDArray, mx.nd.NDArray] | None = None
        if hyperparameters.multi_label and hyperparameters.use_weighted_loss:
            positive, negative = class_weights(data.train_records.labels)
            self._loss_weights = mx.nd.array(positive), mx.nd.array(negative)
        self._module = self._bind()
        self.has_learned = False

    def _bind(self) -> mx.mod.Module:
        chosen = self._chosen
        weighted = self._loss_weights is not None
        network = build_network(
            chosen.num_layers, chosen.num_classes, chosen.image_shape, multi_label=chosen.multi_label, weighted=weighted
        )
        size = chosen.mini_batch_size
        labels = (size, chosen.num_classes) if chosen.multi_label else (size,)
        names = [LABEL, LOSS_WEIGHT] if weighted else [LABEL]
        module = mx.mod.Module(network, data_names=["data"], label_names=names, context=mx.cpu())
        module.bind([("data", (size, *chosen.image_shape))], [(name, labels) for name in names], for_training=True)
        return module

    def prepare(self, weights: Weights | None = None, *, epochs_before: int = 0) -> None:
        """Set the weights, random ones if there are none, and start the optimizer."""
        self.has_learned = weights is not None
        if weights is None:
            self._module.init_params(initial_weights())
        else:
            self._module.set_params(weights.arg, weights.aux, allow_extra=True)
        options = optimizer_options(self._chosen)
        options["begin_num_update"] = epochs_before * self._chosen.batches_per_epoch
        self._module.init_optimizer(kvstore=None, optimizer=self._chosen.optimizer, optimizer_params=options)

    def train_epoch(self, epoch: int) -> list[tuple[str, float]]:
        """Train on every full batch once and return the named accuracies; raises Stopped between batches."""
        self._module._optimizer.set_learning_rate(learning_rate_at(epoch, self._chosen))
        accuracy = Accuracy(self._chosen.multi_label, self._chosen.top_k)
        started = time.perf_counter()
        for number, batch in enumerate(self._data.train, start=1):
            if self._stop():
                raise Stopped
            self._module.forward_backward(self._inputs(batch))
            probabilities = self._module.get_outputs()[0].copy()
            self._module.update()
            self.has_learned = True
            accuracy.add_later(probabilities, batch.labels)
            if number % SPEED_INTERVAL == 0:
                speed = SPEED_INTERVAL * self._chosen.mini_batch_size / (time.perf_counter() - started)
                line = "Epoch[%d] Batch [%d]#011Speed: %.2f samples/sec#011accuracy=%f"
                algorithm_log().info(line, epoch, number, speed, accuracy.value)
                started = time.perf_counter()
        return accuracy.named_values()

    def validate(self) -> float:
        """The accuracy over the validation images, each counted once; raises Stopped between batches."""
        accuracy = Accuracy(self._chosen.multi_label)
        for batch in self._data.validation:
            if self._stop():
                raise Stopped
            self._module.forward(self._inputs(batch), is_train=False)
            rows = self._chosen.mini_batch_size - batch.filling
            probabilities = self._module.get_outputs()[0].asnumpy()
            accuracy.add(probabilities[:rows], batch.labels.asnumpy()[:rows])
        return accuracy.value

    def weights(self) -> Weights:
        """A copy of the weights."""
        arg, aux = self._module.get_params()
        return Weights(arg, aux)

    def save_optimizer(self, path: str) -> None:
        """Write the optimizer's running averages."""
        self._module.save_optimizer_states(path)

    def load_optimizer(self, path: str) -> None:
        """Read what `save_optimizer` wrote."""
        self._module.load_optimizer_states(path)

    def _inputs(self, batch: Batch) -> mx.io.DataBatch:
        labels = [batch.labels]
        if self._loss_weights is not None:
            positive, negative = self._loss_weights
            labels.append(mx.nd.broadcast_mul(batch.labels, positive) + mx.nd.broadcast_mul(1 - batch.labels, negative))
        return mx.io.DataBatch(data=[batch.images], label=labels)


class TrainingRun:
    """Epoch after epoch until the last one, an early stop or a request to stop."""

    def __init__(self, hyperparameters: Hyperparameters, trainer: Trainer, paths: ContainerPaths) -> None:
        self._chosen = hyperparameters
        self._trainer = trainer
        self._paths = paths
        self._keeper = ModelKeeper(paths.model, hyperparameters.checkpoint_frequency)
        self._stopping = EarlyStopping(
            hyperparameters.early_stopping_min_epochs,
            hyperparameters.early_stopping_patience,
            hyperparameters.early_stopping_tolerance,
        )
        self._checkpoints = CheckpointFolder(paths.checkpoints, hyperparameters) if paths.checkpoints.is_dir() else None

    def run(self, start: Weights | None) -> None:
        """Train from `start`, or from the checkpoint where there is one; the model folder holds the result."""
        done = self._resume(start)
        try:
            while done < self._chosen.epochs:
                ends = self._run_epoch(done)
                done += 1
                if ends:
                    algorithm_log().info("Early stopping after epoch %d", done - 1)
                    break
        except Stopped:
            algorithm_log().info("Stopping in epoch %d, as the service asked", done)
            if self._trainer.has_learned:
                self._keeper.when_stopped(done + 1, self._trainer.weights())

    def _run_epoch(self, epoch: int) -> bool:
        started = time.perf_counter()
        trained = self._trainer.train_epoch(epoch)
        for name, value in trained:
            algorithm_log().info("Epoch[%d] Train-%s=%f", epoch, name, value)
        algorithm_log().info("Epoch[%d] Time cost=%.3f", epoch, time.perf_counter() - started)
        accuracy = self._trainer.validate()
        algorithm_log().info("Epoch[%d] Validation-accuracy=%f", epoch, accuracy)
        ends = self._chosen.early_stopping and self._stopping.should_stop(epoch + 1, accuracy)
        last = ends or epoch + 1 == self._chosen.epochs
        weights = self._trainer.weights()
        self._keeper.after_epoch(epoch + 1, accuracy, weights, last=last)
        self._checkpoint(epoch + 1, weights)
        return ends

    def _resume(self, start: Weights | None) -> int:
        progress = self._checkpoints.read() if self._checkpoints else None
        if self._checkpoints is None or progress is None:
            self._trainer.prepare(start)
            return 0
        algorithm_log().info("Resuming from the checkpoint after epoch %d", progress.epoch - 1)
        self._trainer.prepare(self._checkpoints.weights(progress), epochs_before=progress.epoch)
        self._trainer.load_optimizer(str(self._checkpoints.optimizer_state(progress.epoch)))
        self._checkpoints.restore_models(progress, self._paths.model)
        self._keeper.best_accuracy = progress.best_accuracy
        self._stopping.best, self._stopping.epochs_without = progress.early_stopping_best, progress.epochs_without
        return progress.epoch

    def _checkpoint(self, epoch: int, weights: Weights) -> None:
        if self._checkpoints is None:
            return
        self._checkpoints.write_weights(epoch, weights, self._paths.model)
        self._trainer.save_optimizer(str(self._checkpoints.optimizer_state(epoch)))
        self._checkpoints.commit(
            Progress(
                epoch=epoch,
                best_accuracy=self._keeper.best_accuracy,
                early_stopping_best=self._stopping.best,
                epochs_without=self._stopping.epochs_without,
                kept=tuple(saved_epochs(self._paths.model)),
            )
        )
