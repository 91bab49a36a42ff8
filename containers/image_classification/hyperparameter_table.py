"""The hyperparameters of SageMaker's image classification: valid values and defaults.

Source: developer guide, "Image Classification Hyperparameters". Every value arrives as a string.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

SMALL_IMAGE_LAYERS = (20, 32, 44, 56, 110)
IMAGENET_LAYERS = (18, 34, 50, 101, 152, 200)
SMALL_IMAGE_HEIGHT = 28
IMAGE_CHANNELS = (1, 3)

Value = int | float | bool | str | tuple[int, ...]
Parser = Callable[[str], Value]


@dataclass(frozen=True)
class Row:
    """One hyperparameter: how its text is read, what it is when absent, whether it must be there.

    `parse` raises ValueError with the valid values in words.
    """

    name: str
    parse: Parser
    default: Value | None = None
    required: bool = False


def whole_number(minimum: int) -> Parser:
    """Read an integer of at least `minimum`."""

    def parse(text: str) -> int:
        try:
            number = int(_without_underscores(text))
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise ValueError(f"an integer of at least {minimum}")
        return number

    return parse


def fraction(text: str) -> float:
    """Read a float in [0, 1]."""
    try:
        number = float(_without_underscores(text))
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise ValueError("a number from 0 to 1")
    return number


def one_of(*choices: str) -> Parser:
    """Read one of the given words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


def switch(text: str) -> bool:
    """Read 0 or 1."""
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def truth(text: str) -> bool:
    """Read True or False; SDK v3 writes them in lower case."""
    if text.lower() not in ("true", "false"):
        raise ValueError("True or False")
    return text.lower() == "true"


def network_depth(text: str) -> int:
    """Read a number of layers that one of the two network forms has."""
    depths = sorted(SMALL_IMAGE_LAYERS + IMAGENET_LAYERS)
    if text not in map(str, depths):
        raise ValueError(f"one of {', '.join(map(str, depths))}")
    return int(text)


def image_shape(text: str) -> tuple[int, ...]:
    """Read "channels,height,width"."""
    rule = ValueError('"channels,height,width" with 1 or 3 channels, such as 3,224,224')
    try:
        shape = tuple(int(part) for part in _without_underscores(text).split(","))
    except ValueError:
        raise rule from None
    if len(shape) != 3 or min(shape) < 1 or shape[0] not in IMAGE_CHANNELS:
        raise rule
    return shape


def rising_epochs(text: str) -> tuple[int, ...]:
    """Read epochs in rising order, separated by commas."""
    rule = ValueError("positive epochs in rising order, separated by commas, such as 10,20")
    try:
        steps = tuple(int(part) for part in _without_underscores(text).split(","))
    except ValueError:
        raise rule from None
    if min(steps) < 1 or any(later <= earlier for earlier, later in pairwise(steps)):
        raise rule
    return steps


def _without_underscores(text: str) -> str:
    """The text as it is; raises ValueError for `1_000`, a number to Python only."""
    if "_" in text:
        raise ValueError
    return text


TABLE: tuple[Row, ...] = (
    Row("num_classes", whole_number(1), required=True),
    Row("num_training_samples", whole_number(1), required=True),
    Row("augmentation_type", one_of("crop", "crop_color", "crop_color_transform")),
    Row("beta_1", fraction, 0.9),
    Row("beta_2", fraction, 0.999),
    Row("checkpoint_frequency", whole_number(1)),
    Row("early_stopping", truth, default=False),
    Row("early_stopping_min_epochs", whole_number(1), 10),
    Row("early_stopping_patience", whole_number(1), 5),
    Row("early_stopping_tolerance", fraction, 0.0),
    Row("epochs", whole_number(1), 30),
    Row("eps", fraction, 1e-8),
    Row("gamma", fraction, 0.9),
    Row("image_shape", image_shape, (3, 224, 224)),
    Row("kv_store", one_of("dist_sync", "dist_async")),
    Row("learning_rate", fraction, 0.1),
    Row("lr_scheduler_factor", fraction, 0.1),
    Row("lr_scheduler_step", rising_epochs),
    Row("mini_batch_size", whole_number(1), 32),
    Row("momentum", fraction, 0.9),
    Row("multi_label", switch, default=False),
    Row("num_layers", network_depth, 152),
    Row("optimizer", one_of("sgd", "adam", "rmsprop", "nag"), "sgd"),
    Row("precision_dtype", one_of("float32", "float16"), "float32"),
    Row("resize", whole_number(1)),
    Row("top_k", whole_number(2)),
    Row("use_pretrained_model", switch, default=False),
    Row("use_weighted_loss", switch, default=False),
    Row("weight_decay", fraction, 0.0001),
)
NAMES = tuple(row.name for row in TABLE)
OTHER_NAMES = {
    "batch_size": "mini_batch_size",
    "depth": "num_layers",
    "epsilon": "eps",
    "image_size": "image_shape",
    "input_shape": "image_shape",
    "layers": "num_layers",
    "lr": "learning_rate",
    "lr_steps": "lr_scheduler_step",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "num_labels": "num_classes",
    "patience": "early_stopping_patience",
    "pretrained": "use_pretrained_model",
    "wd": "weight_decay",
}
"""What hyperparameters are called in other libraries."""
