"""Parameter ranges of a tuning job: the conf's, or those AWS documents for the chosen optimizer, capped by the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.run_conf.hyperparameters import as_text
from include.run_conf.ranges import (
    DOCUMENTED_CHOICES,
    DOCUMENTED_RANGES,
    INTEGER_HYPERPARAMETERS,
    Choices,
    Range,
)

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

USED_BY = {
    "sgd": {"momentum", "weight_decay"},
    "nag": {"momentum", "weight_decay"},
    "adam": {"beta_1", "beta_2", "eps"},
    "rmsprop": {"gamma", "eps"},
}
"""Hyperparameters that only some optimizers read; the others ignore them."""


def chosen_ranges(conf: RunConf, dataset: DatasetVersion) -> Mapping[str, Range | Choices]:
    """What the tuning job varies; a hyperparameter that has a range is not sent as a fixed one."""
    return conf.tuning.ranges or default_ranges(conf, dataset)


def combinations(ranges: Mapping[str, Range | Choices]) -> int:
    """How many combinations a grid of lists has."""
    return math.prod(len(span) for span in ranges.values() if not isinstance(span, Range))


def default_ranges(conf: RunConf, dataset: DatasetVersion) -> dict[str, Range | Choices]:
    """The ranges AWS documents, without those a fixed optimizer ignores; the batch never exceeds a channel."""
    optimizer = conf.training.hyperparameters.optimizer
    ignored = set().union(*USED_BY.values()) - USED_BY[optimizer] if optimizer else set()
    ranges: dict[str, Range | Choices] = {name: span for name, span in DOCUMENTED_RANGES.items() if name not in ignored}
    if not optimizer:
        ranges.update(DOCUMENTED_CHOICES)
    batch = DOCUMENTED_RANGES["mini_batch_size"]
    largest = min(batch.max, dataset.counts.train, dataset.counts.validation)
    if largest > batch.min:
        ranges["mini_batch_size"] = batch.model_copy(update={"max": float(largest)})
    else:
        del ranges["mini_batch_size"]
    return ranges


def tuned_names(conf: RunConf, dataset: DatasetVersion) -> frozenset[str]:
    """The hyperparameters that vary."""
    return frozenset(chosen_ranges(conf, dataset))


def parameter_ranges(conf: RunConf, dataset: DatasetVersion) -> dict[str, list[dict[str, Any]]]:
    """`ParameterRanges` of CreateHyperParameterTuningJob."""
    kinds: dict[str, list[dict[str, Any]]] = {
        "ContinuousParameterRanges": [],
        "IntegerParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for name, span in chosen_ranges(conf, dataset).items():
        if not isinstance(span, Range):
            kinds["CategoricalParameterRanges"].append({"Name": name, "Values": [as_text(value) for value in span]})
            continue
        whole = name in INTEGER_HYPERPARAMETERS
        bounds = (int(span.min), int(span.max)) if whole else (span.min, span.max)
        kinds["IntegerParameterRanges" if whole else "ContinuousParameterRanges"].append(
            {"Name": name, "MinValue": as_text(bounds[0]), "MaxValue": as_text(bounds[1]), "ScalingType": span.scaling}
        )
    return {kind: ranges for kind, ranges in kinds.items() if ranges}


def resource_limits(conf: RunConf) -> dict[str, int]:
    """`ResourceLimits`; a grid runs as many jobs as it has combinations, and no more run at once than jobs in all."""
    tuning = conf.tuning
    jobs = combinations(tuning.ranges) if tuning.strategy == "Grid" else tuning.max_jobs
    return {
        "MaxNumberOfTrainingJobs": jobs,
        "MaxParallelTrainingJobs": min(tuning.max_parallel_jobs, jobs),
        **({"MaxRuntimeInSeconds": tuning.max_runtime_seconds} if tuning.max_runtime_seconds else {}),
    }
