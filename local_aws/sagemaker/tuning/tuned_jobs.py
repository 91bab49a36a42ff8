"""The training jobs of one tuning job as the API lists them: filtered, sorted, by pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from local_aws.aws_errors import validation_error
from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.resource_table import ResourceTable, SortKey
from local_aws.sagemaker.tuning.job import TunedJob


@dataclass(frozen=True)
class Listed:
    """A training job with what the listing sorts and filters by."""

    job: TunedJob

    @property
    def name(self) -> str:
        """The training job's name."""
        return self.job.job.name

    @property
    def status(self) -> str:
        """The training job's status."""
        return self.job.job.status

    @property
    def creation_time(self) -> datetime:
        """When the training job was created."""
        return self.job.job.creation_time

    @property
    def last_modified_time(self) -> datetime:
        """When the training job last changed."""
        return self.job.job.last_modified_time


SORT_KEYS: Mapping[str, Callable[[Listed], SortKey]] = {
    "FinalObjectiveMetricValue": lambda listed: listed.job.value or 0.0
}


def page_of_tuned_jobs(jobs: Sequence[TunedJob], request: Document) -> Document:
    """Return one page of ListTrainingJobsForHyperParameterTuningJob.

    Sorted by the objective, a job without one is left out, as AWS does.
    """
    table: ResourceTable[Listed] = ResourceTable(
        taken=lambda listed: validation_error(f"{listed.name} is listed twice"),
        unknown=lambda name: validation_error(f"{name} is not listed"),
    )
    for job in jobs:
        table.add(Listed(job))
    by_objective = request.get("SortBy") == "FinalObjectiveMetricValue"
    return table.page(
        request,
        "TrainingJobSummaries",
        lambda listed: listed.job.summary(),
        keep=lambda listed: not by_objective or listed.job.value is not None,
        sort_keys=SORT_KEYS,
        sort_by="Name",
    )
