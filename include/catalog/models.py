"""The registered versions of a dataset's models: which there are, what is known of each, and how several differ.

They differ in their hyperparameters, and in what they answered for the same test images: the figures, as pairs with the
first of them, and the images on which they disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.clean_up.running import Price
from include.datasets.image_objects import stored_images
from include.datasets.layout import VersionLayout, parse_s3_uri
from include.datasets.version import learned_test_images, load
from include.deployment.registry import Approval, RegisteredModel, model_of
from include.evaluation.held_out_answers import DOCUMENT, KEPT, HeldOutAnswers
from include.run_conf.hyperparameters import DERIVED
from include.sagemaker.api import existing, pages_of
from include.sagemaker.epochs import EpochMetrics
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import readable_name

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.evaluation.comparison import Comparison
    from include.settings import Settings

LARGEST_DOCUMENT = 20_000_000
"""Bytes of a document that a page reads."""
MOST_SHOWN = 48
"""Images of a disagreement that a page shows."""
_KEPT = re.compile(rf"{KEPT}[^/]+/(?P<version>[^/]+)/(?P<model>[^/]+)/(?P<source>source/)?{re.escape(DOCUMENT)}")


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


@dataclass(frozen=True)
class Disagreement:
    """A test image that some of the models name rightly and others do not; `said` has an entry for each model.

    `image` is the path of its page, empty if it was never written as an object.
    """

    record: int
    key: str
    expected: str
    said: tuple[str, ...]
    right: tuple[bool, ...]
    image: str


@dataclass(frozen=True)
class OnSameImages:
    """What models answered for the test images of one dataset version.

    `pairs` compare each further model, as the challenger, with the first.
    """

    version: str
    images: int
    shares: tuple[float, ...]
    pairs: tuple[Comparison, ...]
    disagreements: tuple[Disagreement, ...]
    disagreed: int


def on_same_images(s3: S3Client, settings: Settings, models: Sequence[RegisteredModel]) -> OnSameImages:
    """The answers that are kept of all these models, for the newest dataset version that all of them were asked about.

    Test images that one of them was trained with do not count. Raises ComparisonError if they have no such version, or
    other classes.
    """
    # SciPy takes seconds to load, and most pages compare nothing.
    from include.evaluation.comparison import ComparisonError, compare, same_images  # noqa: PLC0415

    place = _newest_common(s3, settings, models)
    if place is None:
        raise ComparisonError(
            "These models have never answered the test images of one dataset version: a run compares its model only "
            "with the champion at that time."
        )
    version = load(s3, f"s3://{settings.data_bucket}/datasets/{models[0].dataset}/{place[0]}/")
    answers = [HeldOutAnswers.load(s3, _answers_address(settings, model, place)) for model in models]
    answers = [answers[0], *(same_images(other, answers[0]) for other in answers[1:])]
    foreign = {model.dataset_uri for model in models} - {version.uri}
    learned = set().union(*(learned_test_images(s3, version, uri) for uri in foreign))
    pairs = tuple(compare(answers[0], other, without=learned) for other in answers[1:])
    counts = ~np.isin(answers[0].record_ids, np.fromiter(learned, dtype=np.int64))
    answers = [each.of_images(counts) for each in answers]
    right = np.stack([each.right for each in answers])
    differ = np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))
    surest = sorted(differ.tolist(), key=lambda image: -max(float(each.mistakenness[image]) for each in answers))
    return OnSameImages(
        version=version.version,
        images=int(counts.sum()),
        shares=tuple(float(each.right.mean()) for each in answers),
        pairs=pairs,
        disagreements=tuple(_disagreements(s3, version.layout, answers, surest[:MOST_SHOWN])),
        disagreed=len(differ),
    )


def _disagreements(
    s3: S3Client, layout: VersionLayout, answers: Sequence[HeldOutAnswers], images: Sequence[int]
) -> Iterator[Disagreement]:
    stored = stored_images(s3, layout.bucket, layout.test_images) if images else {}
    for image in images:
        record = int(answers[0].record_ids[image])
        name = stored.get(record, ("", 0))[0]
        yield Disagreement(
            record=record,
            key=answers[0].keys[image],
            expected=answers[0].expected(image),
            said=tuple(each.said(image) for each in answers),
            right=tuple(bool(each.right[image]) for each in answers),
            image=f"stored/datasets/{layout.name}/{layout.version}/images/test/{name}" if name else "",
        )


def _newest_common(s3: S3Client, settings: Settings, models: Sequence[RegisteredModel]) -> tuple[str, str] | None:
    """The newest dataset version for which answers of all models are kept, and `source/` if they were sent that.

    None if there is no such version.
    """
    prefix = f"{KEPT}{models[0].dataset}/"
    kept: dict[str, set[tuple[str, str]]] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=settings.output_bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            if found := _KEPT.fullmatch(entry["Key"]):
                kept.setdefault(found["model"], set()).add((found["version"], found["source"] or ""))
    common = set.intersection(*(kept.get(readable_name(model.job, model.artifact), set()) for model in models))
    return max(common, key=lambda place: (place[0], place[1] == ""), default=None)


def _answers_address(settings: Settings, model: RegisteredModel, place: tuple[str, str]) -> str:
    version, source = place
    name = readable_name(model.job, model.artifact)
    return f"s3://{settings.output_bucket}/{KEPT}{model.dataset}/{version}/{name}/{source}{DOCUMENT}"
