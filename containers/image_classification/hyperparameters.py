"""From hyperparameters.json to typed values, with every mistake found in one go."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .hyperparameter_table import (
    IMAGENET_LAYERS,
    NAMES,
    OTHER_NAMES,
    SMALL_IMAGE_HEIGHT,
    SMALL_IMAGE_LAYERS,
    TABLE,
    Row,
    Value,
)
from .problems import CustomerError

SERVICE_PREFIXES = ("_tuning", "sagemaker_")
"""Keys the service and the SDKs add for themselves."""
LONGEST_SHOWN = 80
COLOUR_AUGMENTATIONS = ("crop_color", "crop_color_transform")


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """What a training job was asked to do; field for field the table of the algorithm."""

    num_classes: int
    num_training_samples: int
    augmentation_type: str | None
    beta_1: float
    beta_2: float
    checkpoint_frequency: int | None
    early_stopping: bool
    early_stopping_min_epochs: int
    early_stopping_patience: int
    early_stopping_tolerance: float
    epochs: int
    eps: float
    gamma: float
    image_shape: tuple[int, int, int]
    kv_store: str | None
    learning_rate: float
    lr_scheduler_factor: float
    lr_scheduler_step: tuple[int, ...] | None
    mini_batch_size: int
    momentum: float
    multi_label: bool
    num_layers: int
    optimizer: str
    precision_dtype: str
    resize: int | None
    top_k: int | None
    use_pretrained_model: bool
    use_weighted_loss: bool
    weight_decay: float

    @property
    def batches_per_epoch(self) -> int:
        """Full batches of an epoch: the last partial one is dropped."""
        return self.num_training_samples // self.mini_batch_size


@dataclass(frozen=True)
class Reading:
    """What could be read: the values that are valid, defaults included, and every problem."""

    values: dict[str, Any]
    problems: tuple[str, ...]

    def hyperparameters(self) -> Hyperparameters:
        """The typed hyperparameters; raises CustomerError when there are problems."""
        if self.problems:
            raise CustomerError(self.problems)
        return Hyperparameters(**self.values)


def read_hyperparameters(raw: Mapping[str, object], *, incremental: bool = False) -> Reading:
    """Read the strings of hyperparameters.json.

    `incremental` says that a `model` channel is there; use_pretrained_model is ignored then, as on AWS.
    """
    texts = {name: plain_text(value) for name, value in raw.items() if not name.startswith(SERVICE_PREFIXES)}
    problems = [unknown_problem(name) for name in texts if name not in NAMES]
    values: dict[str, Any] = {}
    for row in TABLE:
        try:
            values[row.name] = read_row(row, texts.get(row.name))
        except ValueError as invalid:
            problems.append(str(invalid))
    if incremental and "use_pretrained_model" in values:
        values["use_pretrained_model"] = False
    problems += contradictions(values)
    return Reading(values, tuple(problems))


def read_row(row: Row, text: str | None) -> Value | None:
    """The value of one row; raises ValueError with the sentence for the person who set it."""
    if text is None:
        if row.required:
            raise ValueError(f"hyperparameter {row.name} is required")
        return row.default
    try:
        return row.parse(text)
    except ValueError as rule:
        raise ValueError(f"hyperparameter {row.name}={shortened(text)!r} must be {rule}") from None


def plain_text(value: object) -> str:
    """The value without the JSON quotes that some SDKs put around strings."""
    text = str(value).strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            return str(json.loads(text)).strip()
        except json.JSONDecodeError:
            return text
    return text


def unknown_problem(name: str) -> str:
    """Refuse a name outside the table, with the one that was meant if a name in the table is near."""
    near = difflib.get_close_matches(name[:100].lower(), NAMES, n=1, cutoff=0.75)
    meant = OTHER_NAMES.get(name.lower()) or next(iter(near), None)
    return f"hyperparameter {shortened(name)!r} is unknown" + (f": did you mean {meant}?" if meant else "")


def shortened(text: str) -> str:
    """The text in a line: one long value must not push the other problems out of sight."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def contradictions(values: Mapping[str, Any]) -> list[str]:
    """Problems between values that are each valid; a value that could not be read is left out."""
    return [
        problem
        for problem in (
            depth_problem(values),
            colour_problem(values),
            above(values, "checkpoint_frequency", "epochs"),
            above(values, "top_k", "num_classes"),
            top_k_problem(values),
            pretrained_problem(values),
            precision_problem(values),
        )
        if problem
    ]


def above(values: Mapping[str, Any], name: str, limit: str) -> str | None:
    """Refuse a value above the value of another hyperparameter."""
    value, maximum = values.get(name), values.get(limit)
    if value is None or maximum is None or value <= maximum:
        return None
    return f"hyperparameter {name}={value} must not be above {limit}={maximum}"


def depth_problem(values: Mapping[str, Any]) -> str | None:
    """Refuse a depth of the other network form: MXNet's example draws the line at 28 pixels of height."""
    if "num_layers" not in values or "image_shape" not in values:
        return None
    height = values["image_shape"][1]
    small = height <= SMALL_IMAGE_HEIGHT
    depths = SMALL_IMAGE_LAYERS if small else IMAGENET_LAYERS
    if values["num_layers"] in depths:
        return None
    side = f"up to {SMALL_IMAGE_HEIGHT}" if small else f"above {SMALL_IMAGE_HEIGHT}"
    shape = ",".join(map(str, values["image_shape"]))
    return (
        f"hyperparameter num_layers={values['num_layers']} does not go with image_shape={shape}: "
        f"images {side} pixels high take {', '.join(map(str, depths))}"
    )


def colour_problem(values: Mapping[str, Any]) -> str | None:
    """Refuse to shift the hue of grey images."""
    augmentation, shape = values.get("augmentation_type"), values.get("image_shape")
    if augmentation not in COLOUR_AUGMENTATIONS or shape is None or shape[0] == len("RGB"):
        return None
    return (
        f"hyperparameter augmentation_type={augmentation} changes colours, and image_shape={','.join(map(str, shape))} "
        "has one channel: use crop, or three channels"
    )


def top_k_problem(values: Mapping[str, Any]) -> str | None:
    """Refuse top_k where several labels can be right."""
    if values.get("top_k") and values.get("multi_label"):
        return f"hyperparameter top_k={values['top_k']} has no meaning with multi_label=1: leave it out"
    return None


def pretrained_problem(values: Mapping[str, Any]) -> str | None:
    """Refuse what needs ImageNet weights: the container carries none."""
    if not values.get("use_pretrained_model"):
        return None
    return (
        "hyperparameter use_pretrained_model=1 needs ImageNet weights, which this container does not hold: "
        "set it to 0, or start from a trained model through the channel 'model'"
    )


def precision_problem(values: Mapping[str, Any]) -> str | None:
    """Refuse half precision: the container's MXNet computes on the CPU, which has no float16 convolutions."""
    if values.get("precision_dtype") != "float16":
        return None
    return "hyperparameter precision_dtype='float16' needs a GPU, and this container computes on the CPU: use float32"
