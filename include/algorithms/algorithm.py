"""The algorithm of a run, as every stage sees it: what its jobs are sent, what they are measured by, what answers.

No stage knows which algorithm there is. What is alike for all of them stands here; what differs, in `kinds`.

Sources: API reference of AlgorithmSpecification, HyperParameterTuningJobConfig, CreateModel and Channel; developer
guide, "Incremental Training in Amazon SageMaker" (the `model` channel).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from include.run_conf.hyperparameters import Choices, Range, Value
from include.sagemaker.containers import ModelContainer
from include.sagemaker.job_results import AlgorithmKind, Objective

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.replay import Replay
    from include.datasets.version import DatasetVersion
    from include.run_conf import RunConf
    from include.settings import Settings

Request = dict[str, Any]
INTEGER, CONTINUOUS, CATEGORICAL = "IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges"
MODEL = "application/x-sagemaker-model"


class IncompatibleModelError(ValueError):
    """The base model cannot be trained further on this dataset version: a full training is needed."""


@dataclass(frozen=True)
class Algorithm(ABC):
    """What trains in a run, by its conf and the installation's settings."""

    conf: RunConf
    settings: Settings

    kind: ClassVar[AlgorithmKind]

    @property
    @abstractmethod
    def image(self) -> str:
        """The container image of its training jobs. Raises UnknownRegionError if AWS has none in the region."""

    @property
    @abstractmethod
    def objective(self) -> Objective:
        """The metric by which its models are compared."""

    @property
    @abstractmethod
    def metric_definitions(self) -> Mapping[str, str]:
        """Metric -> regular expression, as its jobs are given them; empty if SageMaker knows them."""

    @property
    @abstractmethod
    def content_types(self) -> tuple[str, ...]:
        """Content types of the images that its models answer."""

    @property
    @abstractmethod
    def inference_image(self) -> str:
        """The container image that answers with its models, on the machines of the run's endpoint."""

    @abstractmethod
    def data_channels(self, dataset: DatasetVersion, replay: Replay | None = None) -> list[Request]:
        """The channels of a dataset version, or with the training images of a `replay`."""

    @abstractmethod
    def base_hyperparameters(self, dataset: DatasetVersion | None) -> dict[str, str]:
        """What a job from scratch is sent, every value as the algorithm reads it.

        Without a dataset version, what does not depend on one.
        """

    @abstractmethod
    def incremental_hyperparameters(self, base: Mapping[str, str], dataset: DatasetVersion) -> dict[str, str]:
        """What a job is sent that trains the model of a job with the `base` hyperparameters further.

        Raises IncompatibleModelError if that model cannot be trained further on the dataset version.
        """

    @abstractmethod
    def search_hyperparameters(self, dataset: DatasetVersion) -> dict[str, str]:
        """What the jobs of a search are sent, those that vary among them."""

    @abstractmethod
    def ranges(self, dataset: DatasetVersion) -> Mapping[str, Range | Choices]:
        """What a search varies."""

    @abstractmethod
    def is_whole(self, name: str, span: Range) -> bool:
        """Whether a search draws whole numbers for a hyperparameter."""

    @abstractmethod
    def search_epochs(self) -> int | None:
        """Epochs of each job of a search; None if unknown."""

    @abstractmethod
    def as_text(self, value: Value | bool) -> str:
        """A hyperparameter's value as the algorithm reads it."""

    def prepared(self, s3: S3Client, dataset: DatasetVersion, replay: Replay | None = None) -> Self:  # noqa: ARG002
        """The same algorithm once all lies in S3 that its jobs read beside the dataset version."""
        return self

    def added_hyperparameters(self, job: str) -> dict[str, str]:  # noqa: ARG002
        """What the toolkit in the container of a `job` receives beside the hyperparameters."""
        return {}

    def specification(self) -> Request:
        """`AlgorithmSpecification` of a training job."""
        defined = [{"Name": name, "Regex": regex} for name, regex in self.metric_definitions.items()]
        return {
            "TrainingImage": self.image,
            "TrainingInputMode": "File",
            **({"MetricDefinitions": defined} if defined else {}),
        }

    @property
    def content(self) -> tuple[str, ...]:
        """What else decides what its jobs do, beside image, hyperparameters and channels."""
        return ()

    def environment(self) -> dict[str, str]:
        """Variables of its jobs."""
        return {}

    def channels(
        self, dataset: DatasetVersion, replay: Replay | None = None, *, base: str | None = None
    ) -> list[Request]:
        """All channels of a job; `base` is the address of the model that it trains further."""
        model = [channel("model", base, MODEL)] if base else []
        return [*self.data_channels(dataset, replay), *model]

    def tuned_hyperparameters(self, dataset: DatasetVersion, tuned: Mapping[str, str]) -> dict[str, str]:
        """What a job from scratch is sent, with the values that a search found, which are sent as they come."""
        return {**self.base_hyperparameters(dataset), **own(tuned)}

    def tuning_hyperparameters(self, dataset: DatasetVersion) -> dict[str, str]:
        """What all jobs of a search are sent alike."""
        varied = self.ranges(dataset)
        return {name: value for name, value in self.search_hyperparameters(dataset).items() if name not in varied}

    def parameter_ranges(self, dataset: DatasetVersion) -> dict[str, list[Request]]:
        """`ParameterRanges` of a tuning job."""
        kinds: dict[str, list[Request]] = {CONTINUOUS: [], INTEGER: [], CATEGORICAL: []}
        for name, span in self.ranges(dataset).items():
            if not isinstance(span, Range):
                kinds[CATEGORICAL].append({"Name": name, "Values": [self.as_text(value) for value in span]})
                continue
            whole = self.is_whole(name, span)
            low, high = (int(span.min), int(span.max)) if whole else (span.min, span.max)
            kinds[INTEGER if whole else CONTINUOUS].append(
                {"Name": name, "MinValue": repr(low), "MaxValue": repr(high), "ScalingType": span.scaling}
            )
        return {kind: ranges for kind, ranges in kinds.items() if ranges}

    def serving_environment(self) -> dict[str, str]:
        """Variables of the container that answers with its models."""
        return {}

    def container(self, artifact: str) -> ModelContainer:
        """What answers with an artifact."""
        return ModelContainer(
            image=self.inference_image,
            artifact=artifact,
            environment=self.serving_environment(),
            content_types=self.content_types,
        )


def channel(name: str, uri: str, content_type: str = "") -> Request:
    """An input channel of whole objects, copied to every machine."""
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {
        "ChannelName": name,
        **({"ContentType": content_type} if content_type else {}),
        "InputMode": "File",
        "DataSource": {"S3DataSource": source},
    }


def own(sent: Mapping[str, str]) -> dict[str, str]:
    """The hyperparameters of a job without those that SageMaker adds for itself."""
    return {name: value for name, value in sent.items() if not name.startswith("_")}
