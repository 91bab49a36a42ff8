"""The training itself: epochs of batches through the network, validation, the model that is kept."""

from __future__ import annotations

import itertools
import logging
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from checkpoints import Checkpoint, CheckpointFolder, Progress
from hyperparameters import AUTO, FLOAT16, OFF, Hyperparameters
from image_data import TrainingOrder
from image_decoding import normalized
from job_folders import JobError, JobFolders
from model_files import ModelDescription, load_model, save_model
from observation import NoObservation, Observation
from optimization import Loss, learning_rate, make_optimizer
from processes import Processes
from residual_network import ResidualNetwork

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
"""How often a long epoch says how far it is."""
STOP_INTERVAL = 10
"""Steps after which several processes ask each other whether to stop."""


class Stopped(Exception):
    """The service asked to stop."""


class StopRequest:
    """Whether SIGTERM came: SageMaker kills 120 seconds later, torchrun after 30."""

    def __init__(self) -> None:
        self.came = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.came = True


class Figures:
    """Loss and right answers of an epoch, added up on the device; reading them adds up all processes.

    An image with several labels counts once for each class: right if probability 0.5 and label say the same. `before`
    is what the steps before an interruption reached.
    """

    def __init__(self, processes: Processes, before: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        self._processes = processes
        self._before = before
        self._sums = torch.zeros(3, dtype=torch.float64, device=processes.device)

    def add(self, loss: Any, scores: Any, targets: Any) -> None:
        """Take in a batch."""
        with torch.no_grad():
            right = (scores > 0) == (targets > 0.5) if targets.ndim == 2 else scores.argmax(dim=1) == targets
            answers = right.numel()
            self._sums += torch.stack((loss.detach() * answers, right.sum(), torch.tensor(answers, device=loss.device)))

    def totals(self) -> tuple[float, float, float]:
        """Loss times answers, right answers, answers."""
        sums = self._processes.sum(self._sums.clone()).tolist()
        loss, right, answers = (one + other for one, other in zip(sums, self._before, strict=True))
        return loss, right, answers


@dataclass(frozen=True)
class TrainingData:
    """Loaders of both channels, and the order that the first one follows.

    `shared_validation_steps` are those that every process has: the last one has no batch in some.
    """

    train: Any
    order: TrainingOrder
    validation: Any
    shared_validation_steps: int


class Training:
    """Trains one network until the last epoch, an early stop or a request to stop.

    The model folder always holds the epoch with the best validation accuracy, the first of equal ones.
    """

    def __init__(
        self,
        chosen: Hyperparameters,
        description: ModelDescription,
        network: ResidualNetwork,
        loss: Loss,
        *,
        data: TrainingData,
        processes: Processes,
        folders: JobFolders,
        stop: StopRequest,
        has_learned: bool,
    ) -> None:
        self._chosen = chosen
        self._description = description
        self._network = network.to(processes.device, memory_format=torch.channels_last)
        self._parallel: Any = None
        self._loss = loss
        self._data = data
        self._processes = processes
        self._folders = folders
        self._has_learned = has_learned
        self._optimizer = make_optimizer(network, chosen)
        self._precision = mixed_type(chosen.mixed_precision, processes.device)
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=self._precision is torch.float16)
        self._checkpoints = CheckpointFolder(folders.checkpoints, chosen, description.classes)
        self._progress = Progress()
        self._stop = stop
        writes = chosen.statistics_every and processes.is_first
        self._observation: Observation | NoObservation = (
            Observation(network, folders.output, chosen.statistics_every, processes.device)
            if writes
            else NoObservation()
        )

    def run(self) -> None:
        """Train, from the checkpoint where there is one."""
        self._resume()
        if self._has_ended():
            self._show_kept_model()
            return
        with self._observation:
            try:
                for epoch in range(self._progress.epoch, self._chosen.epochs):
                    if self._train_and_validate(epoch):
                        break
            except Stopped:
                self._save_when_stopped()

    def _resume(self) -> None:
        checkpoint = self._processes.share(self._checkpoints.read() if self._processes.is_first else None)
        if checkpoint is None:
            return
        self._progress, self._has_learned = checkpoint.progress, True
        self._network.load_state_dict(checkpoint.weights)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._scaler.load_state_dict(checkpoint.scaler)
        log.info("Continuing from the checkpoint: epoch %d, step %d", self._progress.epoch, self._progress.step)
        best = self._checkpoints.best_model
        if best is not None and self._processes.is_first:
            model = load_model(best)
            save_model(self._folders.model, model.weights, model.description)
            self._progress.best_accuracy = model.description.accuracy
        self._progress.best_accuracy = self._processes.share(self._progress.best_accuracy)

    def _train_and_validate(self, epoch: int) -> bool:
        """One epoch with its log lines; whether it is the last."""
        frozen = epoch < self._chosen.freeze_epochs
        self._network.freeze(frozen)
        if epoch == self._chosen.freeze_epochs > 0:
            log.info("Epoch[%d] All layers learn from here on", epoch)
        if self._parallel is None or epoch == self._chosen.freeze_epochs:
            self._parallel = self._processes.wrap(self._network)
        started = time.perf_counter()
        train_loss, train_accuracy = self._train(epoch, frozen=frozen)
        log.info("Epoch[%d] Train-loss=%f", epoch, train_loss)
        log.info("Epoch[%d] Train-accuracy=%f", epoch, train_accuracy)
        log.info("Epoch[%d] Time cost=%.3f", epoch, time.perf_counter() - started)
        if not math.isfinite(train_loss):
            return self._diverged(epoch)
        loss, accuracy = self._validate()
        log.info("Epoch[%d] Validation-loss=%f", epoch, loss)
        log.info("Epoch[%d] Validation-accuracy=%f", epoch, accuracy)
        self._observation.end_epoch(
            epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            validation_loss=loss,
            validation_accuracy=accuracy,
        )
        return self._keep(epoch, accuracy)

    def _train(self, epoch: int, *, frozen: bool) -> tuple[float, float]:
        self._network.train_with_frozen(frozen)
        first, steps = self._progress.step, self._data.order.steps
        figures = Figures(self._processes, self._progress.figures)
        self._data.order.start(epoch, first)
        watch = EpochWatch(epoch, steps, self._chosen.batch_size)
        for step, (images, targets) in enumerate(watch.batches(self._data.train), start=first):
            if self._is_asked_to_stop(step):
                self._progress = replace(self._progress, step=step, figures=figures.totals())
                raise Stopped
            loss, scores = self._step(epoch, step, images, targets, watch)
            figures.add(loss, scores, targets.to(scores.device))
            self._has_learned = True
            watch.step_ended(step, loss)
        watch.ended(steps - first)
        totals = figures.totals()
        # Validation may be interrupted too: the epoch's steps are all done then.
        self._progress = replace(self._progress, step=steps, figures=totals)
        return totals[0] / max(1, totals[2]), totals[1] / max(1, totals[2])

    def _step(self, epoch: int, step: int, images: Any, targets: Any, watch: EpochWatch) -> tuple[Any, Any]:
        """Forward, backward, update; the loss and the scores of the batch."""
        device, counted = self._processes.device, epoch * self._data.order.steps + step
        rate = learning_rate(self._chosen, counted, self._data.order.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        seen = self._observation.begin_step(epoch, counted, waited=watch.waited, rate=rate)
        targets = targets.to(device, non_blocking=True)
        with seen.forward():
            loss, scores = self._forward(self._parallel, images, targets)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        seen.end_backward()
        if self._chosen.clip_gradient_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._chosen.clip_gradient_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        seen.end_update(loss)
        return loss, scores

    def _forward(self, network: Any, images: Any, targets: Any) -> tuple[Any, Any]:
        shown = normalized(
            images.to(self._processes.device, non_blocking=True), self._description.mean, self._description.std
        )
        with torch.autocast(self._processes.device.type, self._precision, enabled=self._precision is not None):
            scores = network(shown)
        scores = scores.float()
        return self._loss(scores, targets), scores

    def _validate(self) -> tuple[float, float]:
        # Each process keeps batch statistics of its own: validation and the saved model take the first one's.
        self._processes.share_tensors(list(self._network.buffers()))
        self._network.eval()
        figures = Figures(self._processes)
        with torch.inference_mode():
            for step, (images, targets) in enumerate(readable(self._data.validation)):
                if step < self._data.shared_validation_steps and self._is_asked_to_stop(step):
                    raise Stopped
                there = targets.to(self._processes.device, non_blocking=True)
                figures.add(*self._forward(self._network, images, there), there)
        loss, right, answers = figures.totals()
        return loss / max(1, answers), right / max(1, answers)

    def _keep(self, epoch: int, accuracy: float) -> bool:
        """Save the model if it is the best, and the checkpoint; whether training ends here."""
        best = self._progress.best_accuracy
        if best is None or accuracy > best:
            log.info("Epoch[%d] Kept: the best validation accuracy so far, %f", epoch, accuracy)
            self._save_model(replace(self._description, epoch=epoch + 1, accuracy=accuracy))
            self._progress = Progress(epoch + 1, best_accuracy=accuracy)
        else:
            self._progress = Progress(epoch + 1, best_accuracy=best, epochs_without=self._progress.epochs_without + 1)
        self._save_checkpoint()
        if self._has_ended() and epoch + 1 < self._chosen.epochs:
            waited = self._progress.epochs_without
            log.info("Early stopping after epoch %d: %d epochs without a better accuracy", epoch, waited)
        return self._has_ended()

    def _has_ended(self) -> bool:
        """Whether all epochs are done, or enough of them were no better."""
        progress, patience = self._progress, self._chosen.early_stopping_patience
        is_early = 0 < patience <= progress.epochs_without and progress.epoch >= self._chosen.early_stopping_min_epochs
        return progress.epoch >= self._chosen.epochs or is_early

    def _show_kept_model(self) -> None:
        """Print the figure of the checkpoint's model, so that a job with nothing left to do has an objective too."""
        log.info("Nothing is left to train: the checkpoint is the end of the job")
        best = self._checkpoints.best_model
        kept = load_model(best).description if best is not None else None
        if kept is not None and kept.epoch is not None:
            log.info("Epoch[%d] Validation-accuracy=%f", kept.epoch - 1, kept.accuracy)
            log.info("Epoch[%d] Kept: the best validation accuracy, %f", kept.epoch - 1, kept.accuracy)

    def _diverged(self, epoch: int) -> bool:
        remedy = f"Lower lr={self._chosen.lr:g}, add warmup_epochs, or set clip_gradient_norm."
        if self._progress.best_accuracy is None:
            raise JobError(f"The loss is not a number any more in epoch {epoch}. {remedy}")
        log.warning("The loss is not a number any more: training ends, and an earlier epoch's model stays. %s", remedy)
        return True

    def _is_asked_to_stop(self, step: int) -> bool:
        if self._processes.count > 1 and step % STOP_INTERVAL:
            return False
        return self._processes.any(self._stop.came)

    def _save_when_stopped(self) -> None:
        """Keep what an unfinished epoch learned."""
        log.info("Stopping in epoch %d after step %d, as the service asked", self._progress.epoch, self._progress.step)
        if self._progress.best_accuracy is None and self._has_learned:
            self._save_model(self._description)
        self._save_checkpoint()

    def _save_model(self, description: ModelDescription) -> None:
        if self._processes.is_first:
            save_model(self._folders.model, self._network.state_dict(), description)

    def _save_checkpoint(self) -> None:
        if self._processes.is_first and self._has_learned:
            state = self._network.state_dict(), self._optimizer.state_dict(), self._scaler.state_dict()
            self._checkpoints.write(Checkpoint(self._progress, *state), self._folders.model)


class EpochWatch:
    """How fast an epoch is, and how long it waits for images."""

    def __init__(self, epoch: int, steps: int, batch_size: int) -> None:
        self._epoch, self._steps, self._batch_size = epoch, steps, batch_size
        self._started = self._logged = time.perf_counter()
        self._waited_in_all = 0.0
        self.waited = 0.0
        """Seconds that the newest batch was waited for."""

    def batches(self, loader: Any) -> Iterator[Any]:
        """The batches of a loader, with the time that each was waited for."""
        found = readable(loader)
        for _ in itertools.count():
            asked = time.perf_counter()
            batch = next(found, None)
            self.waited = time.perf_counter() - asked
            self._waited_in_all += self.waited
            if batch is None:
                return
            yield batch

    def step_ended(self, step: int, loss: Any) -> None:
        """Say how far a long epoch is."""
        if time.perf_counter() - self._logged > SECONDS_BETWEEN_LINES:
            self._logged = time.perf_counter()
            log.info("Epoch[%d] Batch [%d of %d] loss=%f", self._epoch, step + 1, self._steps, loss.item())

    def ended(self, steps: int) -> None:
        """Say how fast the epoch was."""
        seconds = max(1e-9, time.perf_counter() - self._started)
        line = "Epoch[%d] Speed: %.1f images/s, %.0f %% of the time waiting for images"
        log.info(line, self._epoch, steps * self._batch_size / seconds, 100 * self._waited_in_all / seconds)


def readable(loader: Any) -> Iterator[Any]:
    """The batches of a loader; what a worker process found wrong is its message alone, without its traceback."""
    try:
        yield from loader
    except JobError as error:
        raise JobError(str(error).rpartition("JobError: ")[2].strip()) from None


def mixed_type(asked: str, device: Any) -> Any:
    """The type in which the network computes; None for float32."""
    if asked == OFF or (asked == AUTO and device.type != "cuda"):
        return None
    if asked == AUTO:
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if asked == FLOAT16 else torch.bfloat16
