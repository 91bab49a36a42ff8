"""The script's hyperparameters, a line for each: type, default, bounds and meaning; and how a job's values are read.

The toolkit passes them as command line arguments, `--lr 0.01`. All that is wrong is reported at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from augmentation import AUGMENTATIONS
from image_decoding import VIEWS, WHOLE
from job_folders import JobError
from residual_network import FORMS

SGD, ADAMW = "sgd", "adamw"
COSINE, STEP, CONSTANT = "cosine", "step", "constant"
AUTO, OFF, BFLOAT16, FLOAT16 = "auto", "off", "bfloat16", "float16"
SWITCH = {"1": True, "true": True, "0": False, "false": False}


def count(default: int, meaning: str, least: int = 0, most: float = math.inf) -> Any:
    """A whole number."""
    return field(default=default, metadata={"read": int, "least": least, "most": most, "meaning": meaning})


def number(default: float, meaning: str, least: float = 0, most: float = math.inf) -> Any:
    """A decimal number."""
    return field(default=default, metadata={"read": float, "least": least, "most": most, "meaning": meaning})


def switch(default: bool, meaning: str) -> Any:
    """On or off."""
    return field(default=default, metadata={"choices": tuple(SWITCH), "meaning": meaning})


def choice(default: str, choices: Sequence[str], meaning: str) -> Any:
    """One of some words."""
    return field(default=default, metadata={"choices": tuple(choices), "meaning": meaning})


@dataclass(frozen=True)
class Hyperparameters:
    """What a job is asked to do. `python train.py --help` prints this list."""

    network: str = choice("resnet50", tuple(FORMS), "depth of the residual network")
    num_classes: int = count(0, "number of classes, if neither channel 'labels' nor class folders name them")
    multi_label: bool = switch(False, "each image has any number of the classes")
    image_size: int = count(224, "side of the square that the network sees, in pixels", 16, 1024)
    view: str = choice(
        WHOLE, VIEWS, "what validation and predictions see: the whole image, or its centre with its aspect"
    )

    epochs: int = count(20, "how often every training image is seen", 1)
    batch_size: int = count(32, "images of a step, over all processes", 1)
    lr: float = number(0.01, "learning rate after the warm-up", 1e-8, 100)
    optimizer: str = choice(SGD, (SGD, ADAMW), "how weights follow their gradients")
    momentum: float = number(0.9, "of sgd (Nesterov)", 0, 0.9999)
    weight_decay: float = number(0.0001, "pull of weights to zero; biases and batch normalization are left out", 0, 1)
    schedule: str = choice(COSINE, (COSINE, STEP, CONSTANT), "how the learning rate falls")
    warmup_epochs: float = number(0, "epochs in which the learning rate rises from zero")
    step_epochs: int = count(10, "with schedule=step: epochs until the learning rate is multiplied by step_factor", 1)
    step_factor: float = number(0.1, "with schedule=step: see step_epochs", 0.000001, 1)
    clip_gradient_norm: float = number(0, "longest gradient; 0: any length")

    augmentation: str = choice("crop", AUGMENTATIONS, "what training images are changed by")
    flip: bool = switch(True, "training images are also mirrored; not for digits or text")
    label_smoothing: float = number(0, "share of certainty that is taken from the right answer", 0, 0.9)
    weighted_loss: bool = switch(False, "rare classes count as much as frequent ones")
    freeze_epochs: int = count(0, "first epochs in which only the head learns")

    early_stopping_patience: int = count(0, "epochs without a better validation accuracy that end the job; 0: never")
    early_stopping_min_epochs: int = count(0, "epochs before early stopping looks")
    mixed_precision: str = choice(
        AUTO, (AUTO, OFF, BFLOAT16, FLOAT16), "auto: on a GPU, in the type that it is fast in"
    )
    loader_workers: int = count(
        -1, "processes that decode images, for each training process; -1: as many as fit", -1, 256
    )
    statistics_every: int = count(100, "steps between two rows of tensor statistics; 0: no observation at all")
    seed: int = count(0, "of weights, shuffling and augmentation", 0, 2**32 - 1)


def read_hyperparameters(arguments: Sequence[str]) -> Hyperparameters:
    """The job's values. Raises JobError, which names every problem."""
    known = {entry.name: entry for entry in fields(Hyperparameters)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, text in _pairs(arguments, problems):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            problems.append(f"hyperparameter {name} does not exist{f': is {near[0]} meant?' if near else ''}")
            continue
        try:
            values[name] = _value(text, known[name].metadata)
        except ValueError as error:
            problems.append(f"hyperparameter {name}={text} must be {error}")
    if not problems:
        chosen = Hyperparameters(**values)
        problems = list(_contradictions(chosen))
    if problems:
        raise JobError(f"{'; '.join(problems)}.")
    return chosen


def usage() -> str:
    """Every hyperparameter with its default, its values and its meaning."""
    lines = ["python train.py --NAME VALUE ...", ""]
    for entry in fields(Hyperparameters):
        default = int(entry.default) if isinstance(entry.default, bool) else entry.default
        lines.append(f"  {entry.name} ({default}): {entry.metadata['meaning']}; {_expected(entry.metadata)}")
    return "\n".join(lines)


def _pairs(arguments: Sequence[str], problems: list[str]) -> Iterator[tuple[str, str]]:
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--"):
            problems.append(f"argument {word!r} does not belong to a hyperparameter: write --NAME VALUE")
        elif equals:
            yield name, value
        elif waiting and not waiting[0].startswith("--"):
            yield name, waiting.pop(0)
        else:
            problems.append(f"hyperparameter {name} has no value")


def _value(text: str, metadata: Any) -> Any:
    if "choices" in metadata:
        if text.lower() not in metadata["choices"]:
            raise ValueError(_expected(metadata))
        return SWITCH[text.lower()] if metadata["choices"] == tuple(SWITCH) else text.lower()
    try:
        value = metadata["read"](text)
    except ValueError:
        raise ValueError(_expected(metadata)) from None
    if not metadata["least"] <= value <= metadata["most"] or not math.isfinite(value):
        raise ValueError(_expected(metadata))
    return value


def _expected(metadata: Any) -> str:
    if "choices" in metadata:
        return f"one of {', '.join(metadata['choices'])}"
    kind = "a whole number" if metadata["read"] is int else "a number"
    if metadata["most"] == math.inf:
        return f"{kind} of at least {metadata['least']}"
    return f"{kind} from {metadata['least']} to {metadata['most']}"


def _contradictions(chosen: Hyperparameters) -> Iterator[str]:
    if chosen.warmup_epochs and chosen.warmup_epochs >= chosen.epochs:
        yield f"hyperparameter warmup_epochs={chosen.warmup_epochs} must be below epochs={chosen.epochs}"
    if chosen.freeze_epochs > chosen.epochs:
        yield f"hyperparameter freeze_epochs={chosen.freeze_epochs} must be at most epochs={chosen.epochs}"
