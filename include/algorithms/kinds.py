"""The algorithms that a run conf can mean: AWS's image classification, a script, a container of your own.

For AWS's own, image, metrics and hyperparameters are fixed by the conf, the data and the base job. Scripts and
containers have free hyperparameters, metrics that are read from their logs, and channels of files; what a script adds
is what SageMaker's toolkit in the container of its framework receives.

Sources: API reference of AlgorithmSpecification (MetricDefinitions, ContainerArguments), Channel, ParameterRanges and
HyperParameterTuningJobConfig; developer guide, "Image Classification Algorithm" (channels, content types), "Image
Classification Hyperparameters", "Incremental Training"; github.com/aws/sagemaker-training-toolkit, `params.py`
(hyperparameters are JSON texts; `sagemaker_program`, `sagemaker_submit_directory`); the SageMaker SDK's PyTorch
estimator, whose requests a test compares; github.com/aws/sagemaker-inference-toolkit, `environment.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from include.algorithms.algorithm import Algorithm, IncompatibleModelError, Request, channel, own
from include.algorithms.source_code import ARCHIVE, is_archive, pack_source
from include.datasets.image_objects import folders_of, write_class_folders
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
from include.sagemaker.containers import IMAGE_TYPES, METRIC_DEFINITIONS, framework_image, image_uri, is_aws_image
from include.sagemaker.job_results import CODE, PROGRAM, SUBMIT_DIRECTORY, AlgorithmKind, Objective

if TYPE_CHECKING:
    from typing import Self

    from mypy_boto3_s3 import S3Client

    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion
    from include.run_conf import AlgorithmConf, RunConf
    from include.settings import Settings

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


EPOCHS = "epochs"
"""How the hyperparameter is called that `tuning.epochs` stands for."""


class OwnCode(Algorithm):
    """Code that its owner knows and this project does not."""

    @property
    def asked(self) -> AlgorithmConf:
        """The section `training.algorithm` of the run conf."""
        return self.conf.training.algorithm

    @property
    def objective(self) -> Objective:
        """The conf's."""
        return Objective(metric=self.asked.objective.metric, direction=self.asked.objective.direction)

    @property
    def metric_definitions(self) -> Mapping[str, str]:
        """The conf's, else those of the usual lines."""
        return self.asked.defined_metrics

    @property
    def content_types(self) -> tuple[str, ...]:
        """The conf's, else those that every model of this project takes."""
        return tuple(self.asked.inference.content_types) or IMAGE_TYPES

    def environment(self) -> dict[str, str]:
        """The objective, so that later tasks read it from the job."""
        return self.objective.as_environment

    def data_channels(self, dataset: DatasetVersion, replay: Replay | None = None) -> list[Request]:
        """The images as `training.algorithm.channels` asks for them, the class names, and the further channels."""
        train = replay.uri if replay else dataset.channel_uri("train")
        images = {"train": train, "validation": dataset.channel_uri("validation")}
        if self.asked.channels == "folders":
            images = {name: folders_of(uri) for name, uri in images.items()}
        layout = dataset.layout
        if self.asked.channels == "manifest":
            images = {"manifest": f"s3://{layout.bucket}/{layout.manifest}"}
        named = {**images, "labels": f"s3://{layout.bucket}/{layout.labels}", **self.asked.further_channels}
        return [channel(name, uri) for name, uri in named.items()]

    def prepared(self, s3: S3Client, dataset: DatasetVersion, replay: Replay | None = None) -> Self:
        """The same once the class folders are there, if it reads them."""
        if self.asked.channels == "folders":
            for uri in (replay.uri if replay else dataset.channel_uri("train"), dataset.channel_uri("validation")):
                write_class_folders(s3, dataset, uri)
        return self

    def base_hyperparameters(self, dataset: DatasetVersion | None) -> dict[str, str]:  # noqa: ARG002
        """The conf's, as they are; the code reads classes and images from its channels."""
        return self._as_texts(self.asked.hyperparameters)

    def incremental_hyperparameters(
        self,
        base: Mapping[str, str],
        dataset: DatasetVersion,  # noqa: ARG002
    ) -> dict[str, str]:
        """The base job's with the conf's changes; whether model and classes fit each other, the code checks."""
        return {**own(base), **self._as_texts(self.conf.incremental.algorithm_hyperparameters)}

    def search_hyperparameters(self, dataset: DatasetVersion) -> dict[str, str]:
        """The base job's, with the search's own number of epochs."""
        epochs = self.conf.tuning.epochs
        return {**self.base_hyperparameters(dataset), **({EPOCHS: self.as_text(epochs)} if epochs else {})}

    def search_epochs(self) -> int | None:
        """Its own number, else the hyperparameter `epochs`."""
        epochs = self.conf.tuning.epochs or self.asked.hyperparameters.get(EPOCHS)
        return epochs if isinstance(epochs, int) else None

    def ranges(self, dataset: DatasetVersion) -> Mapping[str, Range | Choices]:  # noqa: ARG002
        """The conf's."""
        return self.conf.tuning.ranges

    def is_whole(self, name: str, span: Range) -> bool:
        """As the range says, else as the value is that the conf gives it beside, else as its bounds are."""
        if span.kind:
            return span.kind == "integer"
        given = self.asked.hyperparameters.get(name)
        if isinstance(given, int | float) and not isinstance(given, bool):
            return isinstance(given, int) and span.min.is_integer() and span.max.is_integer()
        return span.min.is_integer() and span.max.is_integer()

    def as_text(self, value: str | bool | float) -> str:
        """A text as it is, any other value as JSON."""
        return value if isinstance(value, str) else json.dumps(value)

    def _as_texts(self, values: Mapping[str, str | bool | int | float]) -> dict[str, str]:
        return {name: self.as_text(value) for name, value in values.items()}


CODE_IN_MODEL = "/opt/ml/model/code"
CODE_CHANNEL = f"/opt/ml/input/data/{CODE}/{ARCHIVE}"


@dataclass(frozen=True)
class Script(OwnCode):
    """A folder of Python; `packed` is the address of its archive, once it is packed."""

    packed: str = ""

    kind: ClassVar[AlgorithmKind] = "script"

    @property
    def image(self) -> str:
        """The conf's, else AWS's newest training image of the framework, for the machine's processor."""
        asked, machine = self.asked, self.conf.resources.instance_type
        if asked.image:
            return asked.image
        return framework_image(
            asked.framework, "training", self.settings.region, version=asked.framework_version, machine=machine
        )

    @property
    def inference_image(self) -> str:
        """The conf's, else AWS's inference image of the framework's version, or the newest before it."""
        asked, machine = self.asked, self.conf.endpoint.machine
        if asked.inference.image:
            return asked.inference.image
        return framework_image(
            asked.framework, "inference", self.settings.region, version=asked.framework_version, machine=machine
        )

    @property
    def content(self) -> tuple[str, ...]:
        """Its source and where that begins."""
        return (self.submitted, self.asked.entry_point)

    def prepared(self, s3: S3Client, dataset: DatasetVersion, replay: Replay | None = None) -> Self:
        """The same once its source is packed, and the class folders are there if it reads them."""
        packed = pack_source(s3, self.asked.source, bucket=self.settings.output_bucket)
        return replace(super().prepared(s3, dataset, replay), packed=packed)

    def base_hyperparameters(self, dataset: DatasetVersion | None) -> dict[str, str]:
        """The conf's; the project's own scripts also receive whether an image has several labels."""
        several = dataset is not None and dataset.multi_label and self.asked.is_of_project
        return {**({"multi_label": self.as_text(True)} if several else {}), **super().base_hyperparameters(dataset)}

    def as_text(self, value: str | bool | float) -> str:
        """Any value as JSON, as the toolkit reads it: a text has quotes."""
        return json.dumps(value)

    def data_channels(self, dataset: DatasetVersion, replay: Replay | None = None) -> list[Request]:
        """With the code as a channel where the container reaches no network: the toolkit cannot download it there."""
        code = [channel(CODE, self.submitted)] if self.settings.network_isolation else []
        return [*super().data_channels(dataset, replay), *code]

    @property
    def submitted(self) -> str:
        """The address of the archive; of one that is not packed yet, one that stands for it in checks."""
        if self.packed or is_archive(self.asked.source):
            return self.packed or self.asked.source
        return f"s3://{self.settings.output_bucket}/code/not-packed-yet/{ARCHIVE}"

    def added_hyperparameters(self, job: str) -> dict[str, str]:
        """What the toolkit receives: where the code is, and where it begins."""
        told = {
            PROGRAM: self.asked.entry_point,
            SUBMIT_DIRECTORY: CODE_CHANNEL if self.settings.network_isolation else self.submitted,
            "sagemaker_container_log_level": logging.INFO,
            "sagemaker_region": self.settings.region,
            "sagemaker_job_name": job,
        }
        return {name: json.dumps(value) for name, value in told.items()}

    def serving_environment(self) -> dict[str, str]:
        """With the code that the training left in the artifact."""
        return {
            "SAGEMAKER_PROGRAM": self.asked.inference_entry_point,
            "SAGEMAKER_SUBMIT_DIRECTORY": CODE_IN_MODEL,
            "SAGEMAKER_CONTAINER_LOG_LEVEL": str(logging.INFO),
            "SAGEMAKER_REGION": self.settings.region,
        }


class Container(OwnCode):
    """A container image that trains, and the same or another one that answers."""

    kind: ClassVar[AlgorithmKind] = "container"

    @property
    def image(self) -> str:
        """The conf's."""
        return self.asked.image

    @property
    def inference_image(self) -> str:
        """The conf's, else the one that trains."""
        return self.asked.inference.image or self.image

    def specification(self) -> Request:
        """With the arguments that the container is started with."""
        arguments = self.asked.train_arguments
        return {**super().specification(), **({"ContainerArguments": [*arguments]} if arguments else {})}


KINDS: dict[str, type[Algorithm]] = {each.kind: each for each in (BuiltIn, Script, Container)}


def algorithm_of(conf: RunConf, settings: Settings) -> Algorithm:
    """The algorithm that a run conf means."""
    return KINDS[conf.training.algorithm.kind](conf, settings)
