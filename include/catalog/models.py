"""The registered versions of a dataset's models: which there are, what is known of each, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.clean_up.running_costs import Price
from include.datasets.layout import parse_s3_uri
from include.deployment.registry import Approval, RegisteredModel, model_of
from include.run_conf.hyperparameters import DERIVED
from include.sagemaker.answers import existing
from include.sagemaker.epochs import EpochMetrics
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import pages_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.settings import Settings

LARGEST_DOCUMENT = 20_000_000
"""Bytes of a document that a page reads."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


@dataclass(frozen=True)
class ListedVersion:
    """A version as the registry lists it."""

    arn: str
    version: int
    approval: Approval
    created: datetime


class Interval(_Document):
    """Where a figure lies with a confidence of 95 %."""

    low: float
    high: float


class Measured(_Document):
    """What a report's `metrics.json` reports about a model, as far as pages show it."""

    images: int = 0
    accuracy: float | None = None
    top_k: int | None = None
    top_k_accuracy: float | None = None
    mean_average_precision: float | None = None
    intervals: dict[str, Interval] = {}
    epochs: dict[str, tuple[EpochMetrics, ...]] = {}

    @property
    def interval(self) -> Interval | None:
        """That of the accuracy."""
        return self.intervals.get("accuracy")


class AgainstChampion(_Document):
    """What a report's `comparison.json` reports about a model beside the champion at that time."""

    images: int
    champion: float
    challenger: float
    difference: float
    difference_interval: Interval
    p_worse: float
    p_better: float

    @property
    def in_words(self) -> str:
        """The difference in percentage points."""
        return f"{self.difference * 100:+.2f} points"


@dataclass(frozen=True)
class ModelFacts:
    """A registered version with the job that trained it and the figures of its report.

    `measured`, `beside_champion` and `job` are None if there is none, or if it was deleted. `dag` and `run` name the
    run that registered it. `cost` is in USD, None if a price or the seconds are not known.
    """

    model: RegisteredModel
    created: datetime
    dag: str = ""
    run: str = ""
    measured: Measured | None = None
    beside_champion: AgainstChampion | None = None
    job: JobResult | None = None
    training_image: str = ""
    cost: float | None = None

    @property
    def number(self) -> int:
        """Its number in the group."""
        return self.model.version

    @property
    def algorithm(self) -> str:
        """The name of the container image that trained it."""
        name = self.training_image.rpartition("/")[2].partition(":")[0].partition("@")[0]
        layers = self.hyperparameters.get("num_layers", "")
        return f"{name}, {layers} layers" if name and layers else name

    @property
    def hyperparameters(self) -> Mapping[str, str]:
        """Those that its training job was sent."""
        return self.job.hyperparameters if self.job else {}


def list_versions(sagemaker: SageMakerClient, group: str) -> tuple[ListedVersion, ...]:
    """All versions of a group, the newest first; none if there is no such group."""
    if existing(sagemaker.describe_model_package_group, ModelPackageGroupName=group) is None:
        return ()
    newest_first = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 100}
    found = pages_of(
        sagemaker, "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=group, **newest_first
    )
    return tuple(
        ListedVersion(
            arn=summary["ModelPackageArn"],
            version=summary["ModelPackageVersion"],
            approval=summary["ModelApprovalStatus"],
            created=summary["CreationTime"],
        )
        for summary in found
    )


def registered_datasets(sagemaker: SageMakerClient, settings: Settings) -> tuple[str, ...]:
    """The datasets that have a model package group of this installation."""
    prefix = f"{settings.registry_group_prefix}-"
    found = pages_of(sagemaker, "list_model_package_groups", "ModelPackageGroupSummaryList", NameContains=prefix)
    names = (summary["ModelPackageGroupName"] for summary in found)
    return tuple(sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix)))


def read_facts(sagemaker: SageMakerClient, s3: S3Client, listed: ListedVersion, price: Price) -> ModelFacts:
    """All that is known of a version. Raises NoModelError for one that another tool registered."""
    package: Mapping[str, Any] = sagemaker.describe_model_package(ModelPackageName=listed.arn)
    model, properties = model_of(package), package["CustomerMetadataProperties"]
    described = existing(sagemaker.describe_training_job, TrainingJobName=model.job)
    job = JobResult.of_training_job(described) if described else None
    compared = _document_of(s3, model.report, "comparison.json")
    measured = _document_of(s3, model.report, "metrics.json")
    return ModelFacts(
        model=model,
        created=listed.created,
        dag=properties.get("dag", ""),
        run=properties.get("run", ""),
        measured=Measured.model_validate(measured) if measured else None,
        beside_champion=AgainstChampion.model_validate(compared["all_images"]) if compared else None,
        job=job,
        training_image=(described or {}).get("AlgorithmSpecification", {}).get("TrainingImage", ""),
        cost=_cost(job, price),
    )


def different_hyperparameters(models: Sequence[ModelFacts]) -> list[tuple[str, tuple[str, ...]]]:
    """The hyperparameters in which the models' jobs differ, with the value of each; empty if a job was not sent one."""
    names = sorted({name for facts in models for name in facts.hyperparameters} - set(DERIVED))
    rows = [(name, tuple(facts.hyperparameters.get(name, "") for facts in models)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def newest_first(found: Iterable[ModelFacts]) -> list[ModelFacts]:
    """The versions by their number."""
    return sorted(found, key=lambda facts: -facts.number)


def _document_of(s3: S3Client, report: str | None, name: str) -> Any:
    """A JSON document that lies beside a report; None if there is none."""
    if not report:
        return None
    bucket, key = parse_s3_uri(report)
    try:
        answer = s3.get_object(Bucket=bucket, Key=f"{key.rpartition('/')[0]}/{name}")
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    return json.loads(answer["Body"].read(LARGEST_DOCUMENT))


def _cost(job: JobResult | None, price: Price) -> float | None:
    if job is None or not job.instance_type or job.billable_seconds is None:
        return None
    an_hour = price(job.instance_type, "training")
    return None if an_hour is None else an_hour * job.instance_count * job.billable_seconds / 3600
