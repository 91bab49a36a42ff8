"""How long the parts of each step took: `steps.jsonl` in the job's output shows what a step waits for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

STEPS_FILE = "steps.jsonl"
ROWS_AT_ONCE = 100
"""Steps after which rows are written: reading a loss from a GPU waits for it."""


class StepClock:
    """The times at which the parts of a step ended; on a GPU by its own clock, so that nothing waits for it."""

    def __init__(self, device: Any) -> None:
        self._on_gpu = device.type == "cuda"
        self._parts: list[tuple[str, Any, Any]] = []
        self._since = self._now()

    def end(self, part: str) -> None:
        """A part of the step has ended, and the next one begins."""
        now = self._now()
        self._parts.append((part, self._since, now))
        self._since = now

    def leave_out(self) -> None:
        """What was done since the last part belongs to none."""
        self._since = self._now()

    def seconds(self) -> dict[str, float]:
        """Seconds by part; waits for the GPU to have done them."""
        if not self._on_gpu:
            return {part: ended - began for part, began, ended in self._parts}
        if self._parts:
            self._parts[-1][2].synchronize()
        return {part: began.elapsed_time(ended) / 1000 for part, began, ended in self._parts}

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class StepLog:
    """Writes a row for each step: loss, learning rate, and seconds of data, forward, backward and update.

    `observed` steps gathered tensor statistics as well, which takes longer.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / STEPS_FILE
        self._rows: list[tuple[dict[str, Any], StepClock, Any]] = []

    def add(self, clock: StepClock, loss: Any, **values: Any) -> None:
        """Take in a step that has ended."""
        self._rows.append((values, clock, loss.detach()))
        if len(self._rows) >= ROWS_AT_ONCE:
            self.write()

    def write(self) -> None:
        """Append the rows of the steps so far."""
        if not self._rows:
            return
        losses = torch.stack([loss.float() for _, _, loss in self._rows])
        finite = losses.isfinite().tolist()
        with self._path.open("a") as stream:
            for (values, clock, _), loss, plain in zip(self._rows, losses.tolist(), finite, strict=True):
                row = {**values, "loss": loss if plain else None}
                row |= {part: round(seconds, 6) for part, seconds in clock.seconds().items()}
                stream.write(f"{json.dumps(row)}\n")
        self._rows.clear()
