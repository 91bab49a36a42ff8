"""What a job is asked to do: config.toml gives every value, the job's hyperparameters replace some.

The file holds the defaults and their meaning, this module the bounds. All that is wrong is reported at once.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .job_folders import JobError

CONFIG_FILE = Path(__file__).resolve().parent.parent / "config.toml"
SERVICE_PREFIXES = ("_", "sagemaker_")
"""How the hyperparameters begin that tuning jobs and SDKs add for themselves."""


def within(least: float, most: float = math.inf) -> Any:
    """A number with its bounds."""
    return field(metadata={"least": least, "most": most})


def one_of(*choices: str) -> Any:
    """One of some words."""
    return field(metadata={"choices": choices})


@dataclass(frozen=True)
class Config:
    """The values of config.toml under their names there."""

    network: str
    image_size: int = within(8, 1024)
    num_classes: int = within(0)
    dropout: float = within(0, 0.95)
    epochs: int = within(1)
    batch_size: int = within(1)
    optimizer: str = one_of("adam", "adamw", "sgd")
    learning_rate: float = within(1e-8, 100)
    learning_rate_schedule: str = one_of("cosine", "constant")
    momentum: float = within(0, 0.9999)
    weight_decay: float = within(0, 1)
    clip_norm: float = within(0)
    freeze_epochs: int = within(0)
    class_weights: str = one_of("none", "balanced")
    early_stopping_patience: int = within(0)
    flip: str = one_of("none", "horizontal", "vertical", "both")
    rotation: float = within(0, 180)
    zoom: float = within(0, 0.9)
    shift: float = within(0, 0.9)
    brightness: float = within(0, 1)
    contrast: float = within(0, 1)
    precision: str = one_of("float32", "mixed_float16", "mixed_bfloat16")
    loader_threads: int = within(1, 64)
    seed: int = within(0, 2**32 - 1)


def read_config(hyperparameters: Mapping[str, str], file: Path = CONFIG_FILE) -> Config:
    """The values of a job. Raises JobError, which names every problem."""
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"{file} cannot be read: {error}.") from error
    asked = {name: _scalar(text) for name, text in hyperparameters.items() if not name.startswith(SERVICE_PREFIXES)}
    problems = [*_missing(given, file), *_unknown(given, file.name), *_unknown(asked, "the hyperparameters")]
    values: dict[str, Any] = {}
    for entry in fields(Config):
        if entry.name in (merged := given | asked):
            try:
                values[entry.name] = _checked(merged[entry.name], entry.type, entry.metadata)
            except ValueError as error:
                origin = "the hyperparameters" if entry.name in asked else file.name
                problems.append(f"{entry.name}={merged[entry.name]} in {origin} must be {error}")
    if problems:
        raise JobError(f"{'; '.join(problems)}.")
    return Config(**values)


def _scalar(text: Any) -> Any:
    """The value of a hyperparameter, which is text, or JSON where an SDK wrote it."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError):
        return text
    return value if isinstance(value, str | int | float) else text


def _missing(given: Mapping[str, Any], file: Path) -> Iterator[str]:
    names = [entry.name for entry in fields(Config) if entry.name not in given]
    if names:
        yield f"{file} lacks {', '.join(names)}: give each a value there"


def _unknown(given: Mapping[str, Any], origin: str) -> Iterator[str]:
    known = [entry.name for entry in fields(Config)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name} of {origin} does not exist{f' (but {near[0]} does)' if near else ''}"


def _checked(value: Any, kind: Any, bounds: Mapping[str, Any]) -> Any:
    """The value as the field's type; raises ValueError with what is expected."""
    if kind == "str":
        choices: Sequence[str] = bounds.get("choices", ())
        if not isinstance(value, str) or (choices and value not in choices):
            raise ValueError(f"one of {', '.join(choices)}" if choices else "a word")
        return value
    expected = f"a {'whole ' if kind == 'int' else ''}number of at least {bounds['least']}"
    if bounds["most"] != math.inf:
        expected += f" and at most {bounds['most']}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not bounds["least"] <= value <= bounds["most"] or (kind == "int" and value != int(value)):
        raise ValueError(expected)
    return int(value) if kind == "int" else float(value)
