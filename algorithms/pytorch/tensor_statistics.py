"""What happens inside the network in some of the steps: a row for each weight with its gradient, and for each ReLU.

The rows show vanishing and exploding gradients, poor start weights and dead units. `tensors.jsonl` lies in the job's
output, output.tar.gz. Steps that are not observed cost nothing.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

TENSORS_FILE = "tensors.jsonl"
FIRST_STEPS = 10
"""Steps at the start that are always observed: poor start weights show there."""
FIGURES = ("mean", "abs_mean", "std", "smallest", "largest", "norm", "zeros", "nonfinite")
"""`zeros` is the share of the tensor that is zero, `nonfinite` that of infinite values and of those without a value."""
LEAST_ACTIVITY = 0.01
"""A unit that is above zero less often than this is dead."""

Row = dict[str, Any]


class TensorStatistics:
    """Gathers rows of a network's tensors, step by step, and writes them into a folder."""

    def __init__(self, network: Any, folder: Path) -> None:
        self._network = network
        self._path = folder / TENSORS_FILE
        self._rectifiers = {name: module for name, module in network.named_modules() if isinstance(module, nn.ReLU)}
        self._rows: list[Row] = []
        self._before: dict[str, tuple[Any, Any]] = {}

    @contextmanager
    def outputs(self) -> Iterator[None]:
        """Gather a row of each ReLU while the network runs forward in this context; `.2` is its second call."""
        calls: Counter[str] = Counter()
        spreads: dict[str, Any] = {}
        hooks = []
        for name, module in self._rectifiers.items():

            def before(_: Any, inputs: Any, name: str = name) -> None:
                spreads[name] = inputs[0].detach().float().std()  # a ReLU in place leaves nothing of its input

            def after(_: Any, __: Any, output: Any, name: str = name) -> None:
                calls[name] += 1
                layer = name if calls[name] == 1 else f"{name}.{calls[name]}"
                more = {"input_std": _plain(spreads[name].item()), "dead": dead_share(output)}
                self._rows.append({"layer": layer, "tensor": "output", **figures(output), **more})

            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()

    def gather_weights(self) -> None:
        """Gather a row of each weight and of its gradient: after the backward pass, before gradients are clipped."""
        for name, parameter in self._network.named_parameters():
            if parameter.ndim < 2:
                continue
            layer = name.removesuffix(".weight")
            self._rows.append({"layer": layer, "tensor": "weight", **figures(parameter)})
            if parameter.grad is not None:
                self._rows.append({"layer": layer, "tensor": "gradient", **figures(parameter.grad)})
                self._before[layer] = parameter, parameter.detach().clone()

    def write(self, epoch: int, step: int) -> list[Row]:
        """Append the gathered rows, after the update: `update` is its length as a share of the weight's."""
        for row in self._rows:
            if row["tensor"] == "weight" and row["layer"] in self._before:
                parameter, before = self._before[row["layer"]]
                change = (parameter.detach() - before).float().norm()
                row["update"] = _plain((change / before.float().norm().clamp(min=1e-9)).item())
        rows = [{"epoch": epoch, "step": step, **row} for row in self._rows]
        with self._path.open("a") as stream:
            stream.writelines(f"{json.dumps(row)}\n" for row in rows)
        self._rows, self._before = [], {}
        return rows


def figures(tensor: Any) -> dict[str, float | None]:
    """FIGURES of a tensor; None if they are infinite or have no value, which JSON cannot hold."""
    values = tensor.detach().float()
    smallest, largest = values.aminmax()
    found = (
        values.mean(),
        values.abs().mean(),
        values.std(correction=0),
        smallest,
        largest,
        values.norm(),
        (values.numel() - values.count_nonzero()) / values.numel(),
    )
    read = torch.stack(found).tolist()
    # One value that is not finite makes the mean so: most tensors need not be searched for them.
    nonfinite = 0.0 if math.isfinite(read[0]) else (~values.isfinite()).float().mean().item()
    return dict(zip(FIGURES, map(_plain, (*read, nonfinite)), strict=True))


def dead_share(output: Any) -> float:
    """The share of units (channels) of an output (images, units, ...) that are hardly ever above zero in the batch."""
    units = output.detach().flatten(2) if output.ndim > 2 else output.detach().unsqueeze(2)
    return float(((units > 0).float().mean(dim=(0, 2)) < LEAST_ACTIVITY).float().mean())


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
