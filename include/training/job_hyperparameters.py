"""Hyperparameters as jobs get them: fixed by the conf, the data and the base job, or varied by a search.

Sources: API reference of HyperParameterTuningJobConfig; developer guide, "Image Classification Hyperparameters",
"Incremental Training".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from include.run_conf.hyperparameters import (
    BY_NAME,
    TABLE,
    TUNABLE,
    Choices,
    Range,
    algorithm_default,
    as_text,
)
from include.sagemaker.job_results import OBJECTIVE

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

HELD = (*(row.name for row in TABLE if row.incremental_training == "held"), "num_classes")
"""An incremental training keeps these of its base job."""
DROPPED = tuple(row.name for row in TABLE if row.incremental_training == "dropped")


class IncompatibleModelError(ValueError):
    """The base model cannot be trained further on this dataset version: a full training is needed."""


def base_hyperparameters(conf: RunConf, dataset: DatasetVersion) -> dict[str, str]:
    """What a job from scratch is sent, every value a string."""
    return {**conf.training.hyperparameters.as_strings(), **derived_hyperparameters(dataset)}


def derived_hyperparameters(dataset: DatasetVersion) -> dict[str, str]:
    """What follows from the dataset version and is never asked."""
    return {
        "num_classes": str(dataset.num_classes),
        "num_training_samples": str(dataset.num_training_samples),
        "multi_label": "1" if dataset.multi_label else "0",
    }


def tuned_hyperparameters(base: Mapping[str, str], tuned: Mapping[str, str]) -> dict[str, str]:
    """The base job's hyperparameters with what a tuning job found."""
    return {**base, **{name: value for name, value in tuned.items() if not name.startswith("_")}}


def incremental_hyperparameters(base: Mapping[str, str], conf: RunConf, dataset: DatasetVersion) -> dict[str, str]:
    """The base job's hyperparameters with the conf's changes; layers, image shape and classes are held.

    Raises IncompatibleModelError if the base lacks one of those or has another number of classes than the dataset.
    """
    changes = conf.incremental.hyperparameters.as_strings()
    kept = {name: value for name, value in base.items() if not name.startswith("_")}
    for name in DROPPED:
        kept.pop(name, None)
    absent = [name for name in HELD if name not in kept]
    if absent:
        raise IncompatibleModelError(f"The base job has no {', '.join(absent)}: train in full instead.")
    if kept["num_classes"] != str(dataset.num_classes):
        raise IncompatibleModelError(
            f"The base job knows {kept['num_classes']} classes, dataset {dataset.name}/{dataset.version} has "
            f"{dataset.num_classes}. Classes cannot be added to a model: train in full instead."
        )
    merged = {**kept, **changes, **derived_hyperparameters(dataset)}
    return _within_epochs(merged, asked=changes)


def _within_epochs(parameters: dict[str, str], *, asked: Mapping[str, str]) -> dict[str, str]:
    """The base job's checkpoint frequency may be longer than the fewer epochs of this job."""
    frequency, epochs = parameters.get("checkpoint_frequency"), parameters.get("epochs")
    if frequency and epochs and "checkpoint_frequency" not in asked and int(frequency) > int(epochs):
        return {**parameters, "checkpoint_frequency": epochs}
    return parameters


def tuning_hyperparameters(conf: RunConf, dataset: DatasetVersion) -> dict[str, str]:
    """What all jobs of a tuning job are sent alike: the base job's, without those that have a range."""
    tuned = tuned_names(conf, dataset)
    base = base_hyperparameters(conf, dataset)
    if conf.tuning.epochs:
        base = _within_epochs({**base, "epochs": str(conf.tuning.epochs)}, asked={})
    return {name: value for name, value in base.items() if name not in tuned}


def tuning_epochs(conf: RunConf) -> int:
    """Epochs of each job of a tuning job: its own number, else the base job's."""
    return conf.tuning.epochs or conf.training.hyperparameters.epochs or int(algorithm_default("epochs"))


def tuned_names(conf: RunConf, dataset: DatasetVersion) -> frozenset[str]:
    """The hyperparameters that vary."""
    return frozenset(chosen_ranges(conf, dataset))


def chosen_ranges(conf: RunConf, dataset: DatasetVersion) -> Mapping[str, Range | Choices]:
    """What the tuning job varies; a hyperparameter that has a range is not sent as a fixed one."""
    return conf.tuning.ranges or default_ranges(conf, dataset)


def default_ranges(conf: RunConf, dataset: DatasetVersion) -> dict[str, Range | Choices]:
    """The ranges AWS documents, without those a fixed optimizer ignores; the batch never exceeds a channel."""
    optimizer = conf.training.hyperparameters.optimizer
    rows = [row for row in TUNABLE.values() if not optimizer or row.is_read_by(optimizer)]
    ranges = {row.name: row.tuned for row in rows if row.tuned and not (optimizer and row.name == "optimizer")}
    batch = ranges.pop("mini_batch_size")
    if isinstance(batch, Range):
        largest = min(batch.max, dataset.counts.train, dataset.counts.validation)
        if largest > batch.min:
            ranges["mini_batch_size"] = batch.model_copy(update={"max": float(largest)})
    return ranges


def tuning_config(conf: RunConf, dataset: DatasetVersion) -> dict[str, Any]:
    """`HyperParameterTuningJobConfig` of CreateHyperParameterTuningJob."""
    tuning = conf.tuning
    completion = completion_criteria(conf)
    return {
        "Strategy": tuning.strategy,
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": OBJECTIVE},
        "ResourceLimits": resource_limits(conf),
        "ParameterRanges": parameter_ranges(conf, dataset),
        "TrainingJobEarlyStoppingType": "Auto" if tuning.early_stopping else "Off",
        **_hyperband(conf),
        **({"TuningJobCompletionCriteria": completion} if completion else {}),
        **({"RandomSeed": tuning.seed} if tuning.seed is not None else {}),
    }


def resource_limits(conf: RunConf) -> dict[str, int]:
    """`ResourceLimits`: how many jobs in all, how many at once, for how long."""
    tuning = conf.tuning
    return {
        "MaxNumberOfTrainingJobs": tuning.jobs,
        "MaxParallelTrainingJobs": tuning.parallel_jobs,
        **({"MaxRuntimeInSeconds": tuning.max_runtime_seconds} if tuning.max_runtime_seconds else {}),
    }


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
        whole = BY_NAME[name].values.type is int
        bounds = (int(span.min), int(span.max)) if whole else (span.min, span.max)
        kinds["IntegerParameterRanges" if whole else "ContinuousParameterRanges"].append(
            {"Name": name, "MinValue": as_text(bounds[0]), "MaxValue": as_text(bounds[1]), "ScalingType": span.scaling}
        )
    return {kind: ranges for kind, ranges in kinds.items() if ranges}


def completion_criteria(conf: RunConf) -> dict[str, Any]:
    """`TuningJobCompletionCriteria`, empty if the budget alone ends the search."""
    completion = conf.tuning.completion
    criteria: dict[str, Any] = {}
    if completion.target is not None:
        criteria["TargetObjectiveMetricValue"] = completion.target
    if completion.jobs_without_improvement is not None:
        most = completion.jobs_without_improvement
        criteria["BestObjectiveNotImproving"] = {"MaxNumberOfTrainingJobsNotImproving": most}
    if completion.converged:
        criteria["ConvergenceDetected"] = {"CompleteOnConvergence": "Enabled"}
    return criteria


def _hyperband(conf: RunConf) -> dict[str, Any]:
    """Hyperband gives a promising job more epochs; of one epoch there is nothing to give."""
    epochs = tuning_epochs(conf)
    if conf.tuning.strategy != "Hyperband" or epochs == 1:
        return {}
    return {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": epochs}}}
