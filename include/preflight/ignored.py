"""Hyperparameters that the optimizer does not read: the algorithm takes them, and they change nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from include.training.job_hyperparameters import READ_BY

if TYPE_CHECKING:
    from include.run_conf import RunConf

DEFAULT_OPTIMIZER = "sgd"


def ignored_notes(conf: RunConf) -> Iterator[str]:
    """Name what is set, or searched, and has no effect with the optimizer of its job."""
    training = conf.training
    base = training.hyperparameters.as_strings()
    if training.mode != "tune":
        if not training.trials:
            yield from _unread("training.hyperparameters", base)
        for number, trial in enumerate(training.trials):
            changed = trial.hyperparameters.as_strings()
            yield from _unread(f"training.trials.{number}.hyperparameters", base | changed)
    if training.mode != "train":
        ranges = conf.tuning.ranges
        given = ranges.get("optimizer", [base.get("optimizer", DEFAULT_OPTIMIZER)])
        optimizers = [str(choice) for choice in given] if isinstance(given, list) else []
        for name in ranges:
            if optimizers and not _is_read(name, optimizers):
                yield f"tuning.ranges.{name} is searched in vain: {_why(name, optimizers)}"
    if conf.incremental.enabled:
        changed = conf.incremental.hyperparameters.as_strings()
        if "optimizer" in changed or changed.keys() & READ_BY.keys():
            yield from _unread("incremental.hyperparameters", base | changed)


def _unread(field: str, hyperparameters: Mapping[str, str]) -> Iterator[str]:
    optimizers = [hyperparameters.get("optimizer", DEFAULT_OPTIMIZER)]
    for name, value in hyperparameters.items():
        if not _is_read(name, optimizers):
            yield f"{field}.{name} = {value} has no effect: {_why(name, optimizers)}"


def _is_read(name: str, optimizers: Collection[str]) -> bool:
    return name not in READ_BY or any(optimizer in READ_BY[name] for optimizer in optimizers)


def _why(name: str, optimizers: Collection[str]) -> str:
    return f"it is for {' and '.join(READ_BY[name])}, the optimizer is {' or '.join(optimizers)}"
