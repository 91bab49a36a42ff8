"""Starting from a model that was trained before: what has to match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model_files import TrainedModel, Weights
from .residual_network import build_network


def mismatches(model: TrainedModel, values: Mapping[str, Any]) -> list[str]:
    """Hyperparameters that differ from the model they shall continue; unreadable ones are missing in `values`."""
    found: dict[str, Any] = {
        "num_layers": model.weights.num_layers,
        "image_shape": model.image_shape,
        "num_classes": model.weights.num_classes,
    }
    return [
        f"hyperparameter {name}={shown(values[name])} differs from the model in channel 'model', which was trained "
        f"with {name}={shown(value)}: incremental training cannot change it"
        for name, value in found.items()
        if name in values and values[name] != value
    ]


def shown(value: object) -> str:
    """A value as one writes it in a hyperparameter."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def foreign_layers(weights: Weights, num_layers: int, num_classes: int, image_shape: tuple[int, int, int]) -> list[str]:
    """Layers whose names or shapes are not those of our network: the model is of another kind."""
    network = build_network(num_layers, num_classes, image_shape)
    shapes, _, statistics = network.infer_shape(data=(1, *image_shape))
    expected = dict(zip(network.list_arguments(), shapes, strict=True))
    expected |= dict(zip(network.list_auxiliary_states(), statistics, strict=True))
    held = {name: tuple(value.shape) for name, value in {**weights.arg, **weights.aux}.items()}
    return sorted(
        name
        for name, shape in expected.items()
        if name not in ("data", "softmax_label") and held.get(name) != tuple(shape)
    )
