"""What a run conf may not say of a tuning job.

Sources: SageMaker developer guide, "Define Hyperparameter Ranges", "Understand the hyperparameter tuning strategies";
API reference of CreateHyperParameterTuningJob.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from include.problems import Problem, did_you_mean
from include.run_conf.hyperparameters import Hyperparameters
from include.run_conf.meaning import meant_field
from include.run_conf.ranges import (
    CATEGORICAL_HYPERPARAMETERS,
    DOCUMENTED_CHOICES,
    DOCUMENTED_RANGES,
    TUNABLE,
    Choices,
    Range,
)
from include.run_conf.section import as_far_as_known
from include.run_conf.sections import RunSections
from include.run_conf.tuning import LATEST


def tuning_is_possible(conf: RunSections) -> Iterator[Problem]:
    """Strategy and ranges of a tuning job agree; more jobs at once than jobs are cut to the jobs."""
    if conf.training.mode == "train":
        return
    tuning = conf.tuning
    if tuning.strategy == "Hyperband" and tuning.early_stopping:
        yield Problem(field="tuning.early_stopping", value=True, remedy="Hyperband stops jobs itself: switch it off")
    for rule in (_epochs, _completion, _warm_start, _grid):
        yield from as_far_as_known(rule(conf))
    for name, span in tuning.ranges.items():
        yield from _range(name, span)


def _epochs(conf: RunSections) -> Iterator[Problem]:
    epochs, frequency = conf.tuning.epochs, conf.training.hyperparameters.checkpoint_frequency
    if epochs and frequency and frequency > epochs:
        remedy = f"must be at least training.hyperparameters.checkpoint_frequency ({frequency}), or empty"
        yield Problem(field="tuning.epochs", value=epochs, remedy=remedy)


def _completion(conf: RunSections) -> Iterator[Problem]:
    limit = conf.tuning.completion.jobs_without_improvement
    if limit and limit >= conf.tuning.max_jobs and conf.tuning.strategy != "Grid":
        remedy = f"never happens with tuning.max_jobs of {conf.tuning.max_jobs}: lower it, or raise those"
        yield Problem(field="tuning.completion.jobs_without_improvement", value=limit, remedy=remedy)


def _warm_start(conf: RunSections) -> Iterator[Problem]:
    field, parents = "tuning.warm_start.from", conf.tuning.warm_start.parents
    for name in sorted({name for name in parents if parents.count(name) > 1}):
        yield Problem(field=field, value=name, remedy="is listed twice: name it once")
    if LATEST in parents and len(parents) > 1:
        yield Problem(field=field, value=", ".join(parents), remedy="say latest alone, or name tuning jobs")
    if not parents and (kind := conf.tuning.warm_start.type):
        remedy = "says how to learn from earlier tuning jobs: name them in tuning.warm_start.from, or leave it empty"
        yield Problem(field="tuning.warm_start.type", value=kind, remedy=remedy)


def _grid(conf: RunSections) -> Iterator[Problem]:
    ranges = conf.tuning.ranges
    if conf.tuning.strategy != "Grid":
        return
    if not ranges:
        yield Problem(field="tuning.ranges", remedy="Grid needs lists of values to combine")
    for name, span in ranges.items():
        if isinstance(span, Range):
            yield Problem(field=f"tuning.ranges.{name}", value=_shown(span), remedy="Grid needs a list of values here")
    combinations = math.prod(len(span) for span in ranges.values() if not isinstance(span, Range))
    if combinations > 750:
        yield Problem(field="tuning.ranges", value=f"{combinations} combinations", remedy="Grid runs at most 750 jobs")


def _range(name: str, span: Range | Choices) -> Iterator[Problem]:
    field = f"tuning.ranges.{name}"
    if name not in TUNABLE:
        meant = did_you_mean(meant_field(name, TUNABLE))
        remedy = f"cannot be tuned; tunable are {', '.join(sorted(TUNABLE))}{meant}"
        yield Problem(field=field, value=_shown(span), remedy=remedy)
    elif isinstance(span, Range):
        yield from _numeric_range(field, name, span)
    else:
        yield from _choices(field, name, span)


def _numeric_range(field: str, name: str, span: Range) -> Iterator[Problem]:
    if name in CATEGORICAL_HYPERPARAMETERS:
        yield Problem(
            field=field,
            value=_shown(span),
            remedy=f"is a choice: list some of {', '.join(map(str, DOCUMENTED_CHOICES[name]))}",
        )
        return
    limits = DOCUMENTED_RANGES[name]
    if span.min >= span.max:
        yield Problem(field=field, value=_shown(span), remedy="min must be below max")
    elif span.min < min(limits.min, 1e-8) or span.max > limits.max:
        yield Problem(field=field, value=_shown(span), remedy=f"must lie within {limits.min:g} to {limits.max:g}")
    if name == "mini_batch_size" and not (span.min.is_integer() and span.max.is_integer()):
        yield Problem(field=field, value=_shown(span), remedy="needs whole numbers")
    if span.scaling == "Logarithmic" and span.min <= 0:
        yield Problem(field=field, value=_shown(span), remedy="Logarithmic scaling needs a min above 0")
    if span.scaling == "ReverseLogarithmic" and (name == "mini_batch_size" or span.max >= 1):
        remedy = "ReverseLogarithmic scaling is for continuous values of at least 0 and below 1"
        yield Problem(field=field, value=_shown(span), remedy=remedy)


def _choices(field: str, name: str, span: Choices) -> Iterator[Problem]:
    if not 1 <= len(span) <= 30:
        yield Problem(field=field, value=_shown(span), remedy="list 1 to 30 values")
    if len(set(map(str, span))) < len(span):
        yield Problem(field=field, value=_shown(span), remedy="lists a value twice")
    for value in span:
        try:
            Hyperparameters.model_validate({name: value})
        except ValueError:
            yield Problem(field=field, value=value, remedy=f"is no valid {name}")


def _shown(span: Range | Choices) -> str:
    return f"{span.min:g} to {span.max:g} ({span.scaling})" if isinstance(span, Range) else str(span)
