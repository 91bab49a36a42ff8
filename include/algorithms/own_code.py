"""What scripts and containers have in common: free hyperparameters, metrics read from their logs, channels of files.

Sources: API reference of AlgorithmSpecification (MetricDefinitions, ContainerArguments), Channel and ParameterRanges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.algorithms.algorithm import Algorithm, Request, channel, own
from include.algorithms.class_folders import folders_of, write_class_folders
from include.run_conf.hyperparameters import Choices, Range
from include.sagemaker.model_container import IMAGE_TYPES
from include.sagemaker.objective import Objective

if TYPE_CHECKING:
    from typing import Self

    from mypy_boto3_s3 import S3Client

    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion
    from include.run_conf import AlgorithmConf

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
