"""An area of SageMaker's API: the actions of one kind of resource."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from local_aws.account import Aws

Document = dict[str, Any]
Action = Callable[[Document], Document]


class Area(ABC):
    """The actions of one kind of resource, in one account and region.

    A request comes as botocore's model describes it: checked for required members, types, patterns, lengths, ranges and
    enums, with timestamps as datetimes in UTC. An answer is a document of the output shape; datetimes and None values
    may stand in it (None is left out). Refusals are raised as `AwsError`.
    """

    resource_types: frozenset[str] = frozenset()
    """The types in the ARNs of its resources, for example "training-job": their tags are kept by `Tags`."""

    def __init__(self, sagemaker: Neighbours) -> None:
        self.sagemaker = sagemaker
        self.aws = sagemaker.aws

    @property
    @abstractmethod
    def actions(self) -> Mapping[str, Action]:
        """The actions by their names in the API, for example CreateTrainingJob."""

    def searchable(self) -> Mapping[str, Callable[[], Iterable[Document]]]:
        """What Search finds: the key of a search record (TrainingJob) -> its describe documents."""
        return {}

    def close(self) -> None:  # noqa: B027
        """End every process of the area: the server is going."""


A = TypeVar("A", bound=Area)


class Neighbours(Protocol):
    """The areas of one account in one region, as each of them sees the others."""

    @property
    def aws(self) -> Aws:
        """The account and region."""

    @property
    def areas(self) -> Sequence[Area]:
        """All of them."""

    @property
    def resource_types(self) -> frozenset[str]:
        """The types of resources that they hold, as ARNs name them."""

    def area(self, kind: type[A]) -> A:
        """The area of that class."""
