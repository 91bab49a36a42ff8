"""What happens inside the network, every so many steps: a row for each tensor of each layer, and the times of the step.

`tensors.jsonl` shows vanishing and exploding gradients, poor start weights and dead units; `steps.jsonl` whether loss
falls and what a step waits for. Both lie in the job's output, output.tar.gz. Other steps cost nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

TENSORS_FILE = "tensors.jsonl"
STEPS_FILE = "steps.jsonl"
FIGURES = ("mean", "std", "smallest", "largest", "norm", "zeros")
"""`zeros` is the share of the tensor that is zero."""

Outputs = dict[str, dict[str, float]]
"""Figures of what each layer gave out."""


@dataclass
class StepTimes:
    """Seconds of a step's parts, in the order in which they follow each other."""

    device: Any
    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def end(self, part: str) -> None:
        """Take the time of a part that has just ended, on the GPU too."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part] = now - self._since
        self._since = now


class TensorStatistics:
    """Writes rows of a network's tensors into a folder."""

    def __init__(self, network: Any, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._network = network
        self._tensors, self._steps = folder / TENSORS_FILE, folder / STEPS_FILE
        # The rectified outputs: of the stem, of every block; and the scores.
        self._observed = {
            name: module
            for name, module in network.named_modules()
            if name in ("relu", "fc") or (name.startswith("layer") and name.count(".") == 1)
        }

    @contextmanager
    def outputs(self) -> Iterator[Outputs]:
        """Figures of what layers give out, gathered while the network runs forward in this context."""
        found: Outputs = {}
        hooks = []
        for name, module in self._observed.items():

            def hook(_: Any, __: Any, output: Any, name: str = name) -> None:
                found[name] = figures(output) | {"dead": dead_share(output)}

            hooks.append(module.register_forward_hook(hook))
        try:
            yield found
        finally:
            for handle in hooks:
                handle.remove()

    def write_tensors(self, epoch: int, step: int, outputs: Outputs) -> None:
        """Append a row for each weight and its gradient, and for the gathered outputs; between backward and update."""
        rows = []
        for name, parameter in self._network.named_parameters():
            if parameter.ndim < 2:
                continue
            layer = name.removesuffix(".weight")
            rows.append({"layer": layer, "tensor": "weight", **figures(parameter)})
            if parameter.grad is not None:
                rows.append({"layer": layer, "tensor": "gradient", **figures(parameter.grad)})
        rows += [{"layer": name, "tensor": "output", **values} for name, values in outputs.items()]
        with self._tensors.open("a") as stream:
            stream.writelines(json.dumps({"epoch": epoch, "step": step, **row}) + "\n" for row in rows)

    def write_step(self, epoch: int, step: int, **values: float) -> None:
        """Append a row of a step: loss, learning rate, seconds."""
        with self._steps.open("a") as stream:
            stream.write(json.dumps({"epoch": epoch, "step": step, **values}) + "\n")


def figures(tensor: Any) -> dict[str, float]:
    """FIGURES of a tensor."""
    values = tensor.detach().float()
    found = (values.mean(), values.std(), values.min(), values.max(), values.norm(), (values == 0).float().mean())
    return dict(zip(FIGURES, torch.stack(found).tolist(), strict=True))


def dead_share(output: Any) -> float:
    """The share of units (channels) of an output (images, units, ...) that are zero for every image of the batch."""
    units = output.detach().flatten(2) if output.ndim > 2 else output.detach().unsqueeze(2)
    return float((units == 0).all(dim=2).all(dim=0).float().mean())
