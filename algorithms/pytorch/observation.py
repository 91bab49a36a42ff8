"""What a job observes of itself: its tensors, the time of its steps, its machine, and event files for TensorBoard.

All of it lies in the job's output, output.tar.gz.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from machine_use import MachineUse, installed
from step_times import StepClock, StepLog
from tensor_statistics import FIRST_STEPS, TensorStatistics

log = logging.getLogger(__name__)

EVENTS_FOLDER = "tensorboard"
WRITERS = ("tensorboardX", "torch.utils.tensorboard")
"""Packages that write event files, the first that is there."""


class Observation:
    """Observes a training while its context lasts: tensors at its first steps and then at `every` so many."""

    def __init__(self, network: Any, folder: Path, every: int, device: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.every, self.device = every, device
        self.tensors, self.steps = TensorStatistics(network, folder), StepLog(folder)
        self._machine, self._folder = MachineUse(folder), folder
        self.events: Any = None

    def __enter__(self) -> Observation:
        self._machine.__enter__()
        self.events = event_writer(self._folder / EVENTS_FOLDER)
        return self

    def __exit__(self, *_: object) -> None:
        self._machine.__exit__()
        self.steps.write()
        if self.events:
            self.events.close()

    def begin_step(self, epoch: int, step: int, *, waited: float, rate: float) -> ObservedStep:
        """A step of these numbers, both counted from 0, that waited so many seconds for its batch."""
        return ObservedStep(self, epoch, step, waited, rate)

    def end_epoch(self, epoch: int, **figures: float) -> None:
        """The epoch's figures; what was observed so far is written."""
        self.steps.write()
        if self.events:
            for name, value in figures.items():
                self.events.add_scalar(f"epoch/{name}", value, epoch)
            self.events.flush()


class ObservedStep:
    """A step of the training, from its batch to its update."""

    def __init__(self, observation: Observation, epoch: int, step: int, waited: float, rate: float) -> None:
        self._observation, self._epoch, self._step = observation, epoch, step
        self._waited, self._rate = waited, rate
        self._is_observed = step < FIRST_STEPS or step % observation.every == 0
        self._clock = StepClock(observation.device)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """The forward pass."""
        context: AbstractContextManager[None] = (
            self._observation.tensors.outputs() if self._is_observed else nullcontext()
        )
        with context:
            yield
        self._clock.end("forward")

    def end_backward(self) -> None:
        """The gradients are there, and not clipped yet."""
        self._clock.end("backward")
        if self._is_observed:
            self._observation.tensors.gather_weights()
            self._clock.leave_out()

    def end_update(self, loss: Any) -> None:
        """The weights have changed."""
        self._clock.end("update")
        rows = self._observation.tensors.write(self._epoch, self._step) if self._is_observed else []
        self._observation.steps.add(
            self._clock,
            loss,
            epoch=self._epoch,
            step=self._step,
            observed=self._is_observed,
            learning_rate=self._rate,
            data=round(self._waited, 6),
        )
        events = self._observation.events
        if events and rows:
            events.add_scalar("step/loss", loss.item(), self._step)
            events.add_scalar("step/learning_rate", self._rate, self._step)
            for row in rows:
                figure = {"gradient": "abs_mean", "output": "dead"}.get(row["tensor"])
                if figure and row[figure] is not None:
                    events.add_scalar(f"{row['tensor']}_{figure}/{row['layer']}", row[figure], self._step)


class NoObservation:
    """Observes nothing: the job asked for it, or another process does."""

    def __enter__(self) -> NoObservation:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin_step(self, epoch: int, step: int, *, waited: float, rate: float) -> NoObservation:  # noqa: ARG002
        """A step that is not observed."""
        return self

    def forward(self) -> AbstractContextManager[None]:
        """The forward pass."""
        return nullcontext()

    def end_backward(self) -> None:
        """The gradients are there."""

    def end_update(self, loss: Any) -> None:
        """The weights have changed."""

    def end_epoch(self, epoch: int, **figures: float) -> None:
        """The epoch's figures."""


def event_writer(folder: Path) -> Any:
    """A writer of event files; None, and a line in the log, if no package for it is installed."""
    found = next(filter(None, map(installed, WRITERS)), None)
    if found is None:
        log.info("No event files for TensorBoard: add tensorboardX to requirements.txt if the job may download it")
        return None
    return found.SummaryWriter(str(folder))
