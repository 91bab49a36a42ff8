"""What the run conf alone shows: hyperparameters that change nothing, and a network that does not fit the packing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from include.problems import Problem
from include.run_conf.hyperparameters import BY_NAME, algorithm_default
from include.run_conf.rules import HYPERPARAMETERS, TRIALS

if TYPE_CHECKING:
    from include.run_conf import RunConf


WORDS = {1: "one channel", 3: "three channels"}


def ignored_notes(conf: RunConf) -> Iterator[str]:
    """Name what is set, or searched, and has no effect with the optimizer of its job."""
    training = conf.training
    base = training.hyperparameters.as_strings()
    if training.mode != "tune":
        if not training.trials:
            yield from _unread(HYPERPARAMETERS, base)
        for number, trial in enumerate(training.trials):
            changed = trial.hyperparameters.as_strings()
            yield from _unread(f"{TRIALS}.{number}.hyperparameters", base | changed)
    if training.mode != "train":
        ranges = conf.tuning.ranges
        given = ranges.get("optimizer", [base.get("optimizer", algorithm_default("optimizer"))])
        optimizers = [str(choice) for choice in given] if isinstance(given, list) else []
        for name in ranges:
            if optimizers and not _is_read(name, optimizers):
                yield f"tuning.ranges.{name} is searched in vain: {_why(name, optimizers)}"
    if conf.incremental.enabled:
        changed = conf.incremental.hyperparameters.as_strings()
        if "optimizer" in changed or any(BY_NAME[name].read_by for name in changed):
            yield from _unread("incremental.hyperparameters", base | changed)


def packing_problems(conf: RunConf) -> Iterator[Problem]:
    """Whether the images that a run packs have the channels that its jobs, the trials among them, ask for."""
    packing, training = conf.dataset.packing, conf.training
    if packing.pass_through or conf.dataset.source_kind == "records":
        return
    base = training.hyperparameters.image_shape
    own = [(index, trial) for index, trial in enumerate(training.trials) if not trial.dataset]
    asks_base = training.mode != "train" or not training.trials
    if asks_base or any(not trial.hyperparameters.image_shape for _, trial in own):
        yield from channels_meet(f"{HYPERPARAMETERS}.image_shape", base, packing.color)
    for index, trial in own:
        if shape := trial.hyperparameters.image_shape:
            yield from channels_meet(f"{TRIALS}.{index}.hyperparameters.image_shape", shape, packing.color)


def channels_meet(field: str, shape: str, color: int, *, whose: str = "") -> Iterator[Problem]:
    """Whether a network of this `image_shape` sees as many channels as `packing.color` packs; -1 goes with all."""
    channels = int(shape.split(",", maxsplit=1)[0])
    packed = {0: 1, 1: 3}.get(color, channels)
    if channels != packed and channels in WORDS:
        remedy = (
            f"has {WORDS[channels]}, and images are packed with {WORDS[packed].split()[0]}: set dataset.packing.color "
            f"to {int(channels == 3)}, or the first number to {packed}"
        )
        yield Problem(field=field, value=f"{shape}{whose}", remedy=remedy)


def _unread(field: str, hyperparameters: Mapping[str, str]) -> Iterator[str]:
    optimizers = [hyperparameters.get("optimizer", algorithm_default("optimizer"))]
    for name, value in hyperparameters.items():
        if not _is_read(name, optimizers):
            yield f"{field}.{name} = {value} has no effect: {_why(name, optimizers)}"


def _is_read(name: str, optimizers: Collection[str]) -> bool:
    return name not in BY_NAME or any(BY_NAME[name].is_read_by(optimizer) for optimizer in optimizers)


def _why(name: str, optimizers: Collection[str]) -> str:
    return f"it is for {' and '.join(BY_NAME[name].read_by)}, the optimizer is {' or '.join(optimizers)}"
