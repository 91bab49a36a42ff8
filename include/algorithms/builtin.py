"""AWS's image classification: its image, metrics and hyperparameters, fixed by the conf, the data and the base job.

Sources: API reference of HyperParameterTuningJobConfig; developer guide, "Image Classification Algorithm" (channels,
content types), "Image Classification Hyperparameters", "Incremental Training".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from include.algorithms.algorithm import Algorithm, IncompatibleModelError, Request, channel, own
from include.run_conf.hyperparameters import (
    BY_NAME,
    TABLE,
    TUNABLE,
    Choices,
    Range,
    Value,
    algorithm_default,
    as_text,
)
from include.sagemaker.image_uris import METRIC_DEFINITIONS, image_uri, is_aws_image
from include.sagemaker.model_container import IMAGE_TYPES
from include.sagemaker.objective import AlgorithmKind, Objective

if TYPE_CHECKING:
    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion

HELD = (*(row.name for row in TABLE if row.incremental_training == "held"), "num_classes")
"""An incremental training keeps these of its base job."""
DROPPED = tuple(row.name for row in TABLE if row.incremental_training == "dropped")
RECORDIO = "application/x-recordio"


class BuiltIn(Algorithm):
    """SageMaker's built-in image classification, or a container that does as it does (`settings.image_uri`)."""

    kind: ClassVar[AlgorithmKind] = "builtin"

    @property
    def image(self) -> str:
        """The settings' own image, or AWS's in the region."""
        return image_uri(self.settings)

    @property
    def inference_image(self) -> str:
        """The same image as trains."""
        return self.image

    @property
    def objective(self) -> Objective:
        """The only one that AWS tunes it by."""
        return Objective.VALIDATION_ACCURACY

    @property
    def metric_definitions(self) -> Mapping[str, str]:
        """Those of an image that is not AWS's own, without which AWS reports none and cannot tune."""
        return {} if is_aws_image(self.image) else METRIC_DEFINITIONS

    @property
    def content_types(self) -> tuple[str, ...]:
        """One image in a request."""
        return IMAGE_TYPES

    def data_channels(self, dataset: DatasetVersion, replay: Replay | None = None) -> list[Request]:
        """One record file in each channel."""
        train = replay.uri if replay else dataset.channel_uri("train")
        return [channel("train", train, RECORDIO), channel("validation", dataset.channel_uri("validation"), RECORDIO)]

    def base_hyperparameters(self, dataset: DatasetVersion | None) -> dict[str, str]:
        """The conf's, and what follows from the dataset version."""
        derived = derived_hyperparameters(dataset) if dataset else {}
        return {**self.conf.training.hyperparameters.as_strings(), **derived}

    def incremental_hyperparameters(self, base: Mapping[str, str], dataset: DatasetVersion) -> dict[str, str]:
        """The base job's hyperparameters with the conf's changes; layers, image shape and classes are held.

        Raises IncompatibleModelError if the base lacks one of those or has another number of classes than the dataset.
        """
        changes = self.conf.incremental.hyperparameters.as_strings()
        kept = own(base)
        for name in DROPPED:
            kept.pop(name, None)
        absent = [name for name in HELD if name not in kept]
        if absent:
            raise IncompatibleModelError(f"The base job does not name {', '.join(absent)}: train in full instead.")
        if kept["num_classes"] != str(dataset.num_classes):
            raise IncompatibleModelError(
                f"The base job has {kept['num_classes']} classes, dataset {dataset.name}/{dataset.version} has "
                f"{dataset.num_classes}. Classes cannot be added to a model: train in full instead."
            )
        merged = {**kept, **changes, **derived_hyperparameters(dataset)}
        return _within_epochs(merged, asked=changes)

    def search_hyperparameters(self, dataset: DatasetVersion) -> dict[str, str]:
        """The base job's, with the search's own number of epochs."""
        base = self.base_hyperparameters(dataset)
        epochs = self.conf.tuning.epochs
        return _within_epochs({**base, "epochs": str(epochs)}, asked={}) if epochs else base

    def search_epochs(self) -> int:
        """Its own number, else the base job's."""
        conf = self.conf
        return conf.tuning.epochs or conf.training.hyperparameters.epochs or int(algorithm_default("epochs"))

    def ranges(self, dataset: DatasetVersion) -> Mapping[str, Range | Choices]:
        """The conf's, else those that AWS documents."""
        return self.conf.tuning.ranges or self._documented_ranges(dataset)

    def is_whole(self, name: str, span: Range) -> bool:  # noqa: ARG002
        """As the hyperparameter is."""
        return BY_NAME[name].values.type is int

    def as_text(self, value: Value | bool) -> str:
        """As the algorithm reads it."""
        return as_text(value)

    def _documented_ranges(self, dataset: DatasetVersion) -> dict[str, Range | Choices]:
        """The ranges AWS documents, without those a fixed optimizer ignores; the batch never exceeds a channel."""
        optimizer = self.conf.training.hyperparameters.optimizer
        rows = [row for row in TUNABLE.values() if not optimizer or row.is_read_by(optimizer)]
        ranges = {row.name: row.tuned for row in rows if row.tuned and not (optimizer and row.name == "optimizer")}
        batch = ranges.pop("mini_batch_size")
        if isinstance(batch, Range):
            largest = min(batch.max, dataset.counts.train, dataset.counts.validation)
            if largest > batch.min:
                ranges["mini_batch_size"] = batch.model_copy(update={"max": float(largest)})
        return ranges


def derived_hyperparameters(dataset: DatasetVersion) -> dict[str, str]:
    """What follows from the dataset version and is never asked."""
    return {
        "num_classes": str(dataset.num_classes),
        "num_training_samples": str(dataset.num_training_samples),
        "multi_label": "1" if dataset.multi_label else "0",
    }


def _within_epochs(parameters: dict[str, str], *, asked: Mapping[str, str]) -> dict[str, str]:
    """The base job's checkpoint frequency may be longer than the fewer epochs of this job."""
    frequency, epochs = parameters.get("checkpoint_frequency"), parameters.get("epochs")
    if frequency and epochs and "checkpoint_frequency" not in asked and int(frequency) > int(epochs):
        return {**parameters, "checkpoint_frequency": epochs}
    return parameters
