"""What `training.algorithm` and the fields that depend on it may not say together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from include.problems import Problem
from include.run_conf.hyperparameters import Choices, Range
from include.sagemaker.model_container import IMAGE_TYPES, packed_type

if TYPE_CHECKING:
    from include.run_conf.sections import RunSections

ALGORITHM = "training.algorithm"
GPU_FAMILIES = ("p2", "p3", "p3dn", "g4dn", "g5")
"""Families on which the built-in algorithm trains."""
OTHER_CHIPS = ("ml.trn", "ml.inf")
CHANNEL_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
OWN_CHANNELS = ("train", "validation", "labels", "manifest", "model", "code")
MOST_CHOICES = 30


def algorithm_is_whole(conf: RunSections) -> Iterator[Problem]:
    """A container has an image, and what is of one kind only is not asked of another."""
    algorithm = conf.training.algorithm
    if algorithm.kind == "container" and not algorithm.image:
        yield Problem(field=f"{ALGORITHM}.image", remedy="a container needs one: give the address of its image")
    if algorithm.train_arguments and algorithm.kind != "container":
        remedy = f"are a container's, and {ALGORITHM}.kind is {algorithm.kind}: leave them out"
        yield Problem(field=f"{ALGORITHM}.train_arguments", value=algorithm.train_arguments, remedy=remedy)
    elif algorithm.train_arguments and conf.training.tunes:
        remedy = (
            f"training.mode is {conf.training.mode}, and AWS gives the jobs of a search no arguments: leave them out"
        )
        yield Problem(field=f"{ALGORITHM}.train_arguments", value=algorithm.train_arguments, remedy=remedy)
    if algorithm.is_builtin:
        yield from _foreign(conf)
        return
    for index, trial in enumerate(conf.training.trials):
        if changed := trial.hyperparameters.as_strings():
            field = f"training.trials.{index}"
            remedy = (
                f"are the built-in algorithm's, and {ALGORITHM}.kind is {algorithm.kind}: set "
                f"{field}.algorithm_hyperparameters"
            )
            yield Problem(field=f"{field}.hyperparameters", value=", ".join(changed), remedy=remedy)


def _foreign(conf: RunSections) -> Iterator[Problem]:
    """What the built-in algorithm does not have."""
    algorithm = conf.training.algorithm
    tables: dict[str, tuple[str, Mapping[str, Any]]] = {
        f"{ALGORITHM}.hyperparameters": ("training.hyperparameters", algorithm.hyperparameters),
        "incremental.algorithm_hyperparameters": (
            "incremental.hyperparameters",
            conf.incremental.algorithm_hyperparameters,
        ),
        **{
            f"training.trials.{index}.algorithm_hyperparameters": (
                f"training.trials.{index}.hyperparameters",
                trial.algorithm_hyperparameters,
            )
            for index, trial in enumerate(conf.training.trials)
        },
    }
    for field, (own, values) in tables.items():
        if values:
            remedy = f"are a script's or a container's, and {ALGORITHM}.kind is builtin: set {own}, or the kind"
            yield Problem(field=field, value=", ".join(values), remedy=remedy)
    if algorithm.image:
        remedy = f"{ALGORITHM}.kind is builtin: set that to container, or leave the image out"
        yield Problem(field=f"{ALGORITHM}.image", value=algorithm.image, remedy=remedy)
    objective = algorithm.objective
    if (objective.metric, objective.direction) != ("validation:accuracy", "Maximize"):
        remedy = "the built-in algorithm is compared by Maximize validation:accuracy only: leave it out"
        yield Problem(field=f"{ALGORITHM}.objective", value=f"{objective.direction} {objective.metric}", remedy=remedy)


def machines_can_train(conf: RunSections) -> Iterator[Problem]:
    """The built-in algorithm trains on some GPU families; AWS's images of a framework know CPUs and GPUs."""
    algorithm, machine = conf.training.algorithm, conf.resources.instance_type
    family = machine.split(".")[1]
    if algorithm.is_builtin and family not in GPU_FAMILIES:
        *rest, last = GPU_FAMILIES
        remedy = f"the built-in algorithm trains on the families {', '.join(rest)} and {last}: choose one of these"
        yield Problem(field="resources.instance_type", value=machine, remedy=remedy)
    if algorithm.kind == "script" and not algorithm.image and machine.startswith(OTHER_CHIPS):
        remedy = f"AWS's image of the framework is for CPUs and GPUs: choose such a machine, or give {ALGORITHM}.image"
        yield Problem(field="resources.instance_type", value=machine, remedy=remedy)


def answers_to_images(conf: RunSections) -> Iterator[Problem]:
    """A script's or a container's models take images as they are sent."""
    algorithm, packing = conf.training.algorithm, conf.dataset.packing
    taken = algorithm.inference.content_types
    if algorithm.is_builtin or not taken:
        return
    as_they_are = packing.pass_through or conf.evaluation.images == "source"
    sent = IMAGE_TYPES if as_they_are else (packed_type(f".{packing.encoding}"),)
    missing = [each for each in sent if each not in taken]
    if missing:
        which = "images are sent as they are" if as_they_are else f"images are packed as {packing.encoding}"
        remedy = f"{which}: add {', '.join(missing)}, or leave the list empty"
        yield Problem(field=f"{ALGORITHM}.inference.content_types", value=", ".join(taken), remedy=remedy)


def metrics_are_defined(conf: RunSections) -> Iterator[Problem]:
    """Each metric is a regular expression with one group; the objective is one of them, and matches the sample line."""
    algorithm = conf.training.algorithm
    if algorithm.is_builtin:
        return
    definitions = algorithm.defined_metrics
    for name, regex in definitions.items():
        yield from _regex_problems(f"{ALGORITHM}.metric_definitions.{name}", name, regex)
    if len(definitions) > 40:
        remedy = "a job has at most 40: leave some out"
        yield Problem(field=f"{ALGORITHM}.metric_definitions", value=len(definitions), remedy=remedy)
    metric = algorithm.objective.metric
    if metric not in definitions:
        remedy = f"is not one of {ALGORITHM}.metric_definitions ({', '.join(definitions)}): define it, or choose one"
        yield Problem(field=f"{ALGORITHM}.objective.metric", value=metric, remedy=remedy)
    elif algorithm.sample_line and _compiled(definitions[metric]) and algorithm.sample_value is None:
        remedy = (
            f"shows no {metric}: its regular expression {definitions[metric]} finds no number there; correct either"
        )
        yield Problem(field=f"{ALGORITHM}.sample_line", value=algorithm.sample_line, remedy=remedy)


def _regex_problems(field: str, name: str, regex: str) -> Iterator[Problem]:
    if not 1 <= len(name) <= 255:
        yield Problem(field=field, value=name, remedy="a metric's name has 1 to 255 characters")
    if not 1 <= len(regex) <= 500:
        yield Problem(field=field, value=regex, remedy=f"has {len(regex)} characters, and 1 to 500 are allowed")
        return
    pattern = _compiled(regex)
    if pattern is None:
        yield Problem(field=field, value=regex, remedy="is not a regular expression: correct it")
    elif pattern.groups != 1:
        remedy = (
            f"has {pattern.groups} groups, and one must have the value: write (...) around the number, (?:...) else"
        )
        yield Problem(field=field, value=regex, remedy=remedy)


def _compiled(regex: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex)
    except re.error:
        return None


def channels_can_be_made(conf: RunSections) -> Iterator[Problem]:
    """What the images come as suits the dataset, and further channels have names of their own."""
    algorithm = conf.training.algorithm
    if algorithm.is_builtin:
        return
    channels, field = algorithm.channels, f"{ALGORITHM}.channels"
    if channels == "folders" and conf.dataset.multi_label:
        remedy = "an image of a multi-label dataset cannot be in one folder: choose recordio or manifest"
        yield Problem(field=field, value=channels, remedy=remedy)
    if channels == "manifest" and conf.incremental.enabled and conf.incremental.replay < 1:
        remedy = f"{field} is manifest, a table of all images: leave it at 1"
        yield Problem(field="incremental.replay", value=conf.incremental.replay, remedy=remedy)
    for name, address in algorithm.further_channels.items():
        further = f"{ALGORITHM}.further_channels.{name}"
        if not CHANNEL_NAME.fullmatch(name):
            yield Problem(field=further, value=name, remedy="is made of letters, digits, dots, hyphens, _; 64 at most")
        elif name in OWN_CHANNELS:
            yield Problem(field=further, value=name, remedy="is a channel that every job has: give it another name")
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", address):
            yield Problem(field=further, value=address, remedy="must be an address such as s3://my-bucket/weights.pth")


def free_hyperparameters_fit(conf: RunSections) -> Iterator[Problem]:
    """As many and as long ones as the API takes, and none that are meant for SageMaker's toolkit."""
    tables = {
        f"{ALGORITHM}.hyperparameters": conf.training.algorithm.hyperparameters,
        "incremental.algorithm_hyperparameters": conf.incremental.algorithm_hyperparameters,
    }
    for field, values in tables.items():
        if len(values) > 90:
            yield Problem(field=field, value=len(values), remedy="a job takes 100, and 10 are kept for its toolkit")
        for name, value in values.items():
            if name.startswith(("sagemaker_", "_")) or not 1 <= len(name) <= 256:
                remedy = "is a name that SageMaker keeps for itself, or too long: give it another one"
                yield Problem(field=f"{field}.{name}", value=value, remedy=remedy)
            elif len(str(value)) > 2400:
                remedy = f"has {len(str(value))} characters, and 2,400 are allowed: give it as a channel"
                yield Problem(field=f"{field}.{name}", value=f"{str(value)[:40]}...", remedy=remedy)


def search_has_ranges(conf: RunSections) -> Iterator[Problem]:
    """Of a script or a container it is not known what could be searched."""
    if conf.training.tunes and not conf.training.algorithm.is_builtin and not conf.tuning.ranges:
        yield Problem(field="tuning.ranges", remedy="name the ranges: a script or a container has no usual ones")


def free_range(name: str, span: Range | Choices) -> Iterator[Problem]:
    """What is wrong with the range of a script's or a container's hyperparameter."""
    field = f"tuning.ranges.{name}"
    if not isinstance(span, Range):
        if not 1 <= len(span) <= MOST_CHOICES:
            yield Problem(field=field, value=shown_range(span), remedy=f"list 1 to {MOST_CHOICES} values")
        if len(set(map(str, span))) < len(span):
            yield Problem(field=field, value=shown_range(span), remedy="lists a value twice")
        return
    if span.min >= span.max:
        yield Problem(field=field, value=shown_range(span), remedy="min must be below max")
    if span.kind == "integer" and not (span.min.is_integer() and span.max.is_integer()):
        yield Problem(field=field, value=shown_range(span), remedy="needs whole numbers, as its kind is integer")
    if span.scaling == "Logarithmic" and span.min <= 0:
        yield Problem(field=field, value=shown_range(span), remedy="Logarithmic scaling needs a min above 0")
    if span.scaling == "ReverseLogarithmic" and (span.kind == "integer" or span.min < 0 or span.max >= 1):
        remedy = "ReverseLogarithmic scaling is for continuous values of at least 0 and below 1"
        yield Problem(field=field, value=shown_range(span), remedy=remedy)


def shown_range(span: Range | Choices) -> str:
    """A range as a problem shows it."""
    return f"{span.min:g} to {span.max:g} ({span.scaling})" if isinstance(span, Range) else str(span)


ALGORITHM_RULES: tuple[Callable[[RunSections], Iterator[Problem]], ...] = (
    algorithm_is_whole,
    machines_can_train,
    answers_to_images,
    metrics_are_defined,
    channels_can_be_made,
    free_hyperparameters_fit,
    search_has_ranges,
)
