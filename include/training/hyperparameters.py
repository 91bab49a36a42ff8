"""Hyperparameters as a job gets them: from the conf, from the data, and when training on from the base job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.training.tuning_ranges import tuned_names

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf

HELD = ("num_layers", "image_shape", "num_classes")
"""An incremental training keeps these of its base job (developer guide, "Incremental Training")."""
EPOCHS = 30
"""What the algorithm does where nobody says how many."""
IGNORED_BY_INCREMENTAL = ("use_pretrained_model",)


class IncompatibleModelError(ValueError):
    """The base model cannot go on with this dataset version: a full training is needed."""


def base_hyperparameters(conf: RunConf, dataset: DatasetVersion) -> dict[str, str]:
    """What a job from scratch is sent, every value a string."""
    return {**conf.training.hyperparameters.as_strings(), **derived_hyperparameters(dataset)}


def tuning_epochs(conf: RunConf) -> int:
    """Epochs of each job of a tuning job: its own number, else the base job's."""
    return conf.tuning.epochs or conf.training.hyperparameters.epochs or EPOCHS


def tuning_hyperparameters(conf: RunConf, dataset: DatasetVersion) -> dict[str, str]:
    """What all jobs of a tuning job are sent alike: the base job's, without those that have a range."""
    tuned = tuned_names(conf, dataset)
    base = base_hyperparameters(conf, dataset)
    if conf.tuning.epochs:
        base = _within_epochs({**base, "epochs": str(conf.tuning.epochs)}, asked={})
    return {name: value for name, value in base.items() if name not in tuned}


def tuned_hyperparameters(base: Mapping[str, str], tuned: Mapping[str, str]) -> dict[str, str]:
    """The base job's hyperparameters with what a tuning job found."""
    return {**base, **{name: value for name, value in tuned.items() if not name.startswith("_")}}


def derived_hyperparameters(dataset: DatasetVersion) -> dict[str, str]:
    """What follows from the dataset version and is never asked."""
    return {
        "num_classes": str(dataset.num_classes),
        "num_training_samples": str(dataset.num_training_samples),
        "multi_label": "1" if dataset.multi_label else "0",
    }


def incremental_hyperparameters(base: Mapping[str, str], conf: RunConf, dataset: DatasetVersion) -> dict[str, str]:
    """The base job's hyperparameters with the conf's changes; layers, image shape and classes are held.

    Raises IncompatibleModelError where the base lacks one of those or has another number of classes than the dataset.
    """
    changes = conf.incremental.hyperparameters.as_strings()
    kept = {name: value for name, value in base.items() if not name.startswith("_")}
    for name in IGNORED_BY_INCREMENTAL:
        kept.pop(name, None)
    absent = [name for name in HELD if name not in kept]
    if absent:
        raise IncompatibleModelError(f"The base job tells no {', '.join(absent)}: train in full instead.")
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
