"""The training jobs of a dataset, and those of a run: found by their tags, with what they were sent, reached and cost.

Search answers with whole descriptions and their tags, a hundred a call. What it finds may be some seconds old.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from include.clean_up.running import Price
from include.run_conf.hyperparameters import DERIVED
from include.sagemaker.api import ACTIVE
from include.sagemaker.epochs import EpochMetrics, with_earlier
from include.sagemaker.job_results import JobResult, Part, is_of_installation
from include.sagemaker.job_watch import billable_seconds
from include.sagemaker.naming import Run, tag_value

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.settings import Settings

MOST_JOBS = 1000
"""Jobs of a dataset that are listed, the newest ones."""
PARTS: Mapping[str, Part] = {
    "train": "base",
    "tune": "tuning",
    "train_tuned": "tuned",
    "train_incremental": "incremental",
}
"""What a job was for, by the last part of its task's name."""


@dataclass(frozen=True)
class KnownJob:
    """A training job; `dag`, `run` and `task` name what started it, `version` the dataset version it learned from.

    `seconds` are those for which each machine is billed so far, `cost` is in USD for all machines, None if the price is
    not known. `epochs` is what its log shows, if it was read.
    """

    result: JobResult
    created: datetime
    dag: str
    run: str
    task: str
    version: str
    seconds: float
    cost: float | None
    stage: str
    tuning_job: str = ""
    epochs: tuple[EpochMetrics, ...] = ()

    @property
    def name(self) -> str:
        """The job's name."""
        return self.result.name

    @property
    def part(self) -> Part:
        """What it was for."""
        if self.tuning_job:
            return "tuning"
        return PARTS.get(self.task.rpartition(".")[2].partition("/")[0], self.result.role)

    @property
    def map_index(self) -> int | None:
        """The place of its trial among the run's; None if its task is not mapped."""
        index = self.task.partition("/")[2]
        return int(index) if index.isdecimal() else None

    @property
    def is_unfinished(self) -> bool:
        """Whether it runs, or will."""
        return self.result.status in ACTIVE

    @property
    def asked_epochs(self) -> int | None:
        """How many epochs it was asked to train."""
        asked = self.result.hyperparameters.get("epochs", "").strip('"')
        return int(asked) if asked.isdecimal() else None

    def with_epochs(self, epochs: Sequence[EpochMetrics]) -> KnownJob:
        """The same job with what its log shows: every epoch, and the value of the weights that it kept so far."""
        return replace(self, result=self.result.with_epochs(epochs), epochs=tuple(epochs))


def jobs_of_dataset(sagemaker: SageMakerClient, settings: Settings, dataset: str, price: Price) -> tuple[KnownJob, ...]:
    """The training jobs that learned from a version of this dataset, the newest first."""
    filters = [{"Name": "Tags.dataset-version", "Operator": "Contains", "Value": f"{dataset}/"}]
    found = (job for job in _search(sagemaker, settings, filters, price) if job[0] == dataset)
    return tuple(job for _, job in islice(found, MOST_JOBS))


def jobs_of_run(sagemaker: SageMakerClient, settings: Settings, run: Run, price: Price) -> tuple[KnownJob, ...]:
    """The training jobs that a run started, those of its tuning jobs too, in the order in which they were created."""
    filters = [
        {"Name": f"Tags.{name}", "Operator": "Equals", "Value": tag_value(value)}
        for name, value in (("dag", run.dag_id), ("run", run.run_id))
    ]
    found = [job for _, job in islice(_search(sagemaker, settings, filters, price), MOST_JOBS)]
    return tuple(sorted(found, key=lambda job: (job.created, job.name)))


def with_logs(jobs: Iterable[KnownJob], logs: Mapping[str, Sequence[EpochMetrics]]) -> list[KnownJob]:
    """The jobs with the epochs that their logs show, by name.

    A job that took up the checkpoint of an earlier attempt of its task has that one's epochs too.
    """
    attempts: dict[str, list[Sequence[EpochMetrics]]] = defaultdict(list)
    found = []
    for job in sorted(jobs, key=lambda job: (job.created, job.name)):
        own = logs.get(job.name, ())
        before = attempts[job.task] if not job.tuning_job else []
        epochs = with_earlier(own, before)
        before.insert(0, epochs)
        found.append(job.with_epochs(epochs) if epochs else job)
    return found


def ranked(jobs: Iterable[KnownJob]) -> list[KnownJob]:
    """The best first by what they have reached; those that show nothing yet behind them, failed ones last."""

    def place(job: KnownJob) -> tuple[bool, float, float, str]:
        over = not job.is_unfinished and job.result.status != "Completed"
        return over, job.result.distance, job.cost or 0.0, job.name

    return sorted(jobs, key=place)


def varied(jobs: Sequence[KnownJob]) -> list[str]:
    """The hyperparameters in which jobs differ, but those that follow from the dataset."""
    sent = [job.result.readable_hyperparameters for job in jobs]
    names = sorted({name for each in sent for name in each} - set(DERIVED))
    return [name for name in names if len({each.get(name) for each in sent}) > 1]


def _search(
    sagemaker: SageMakerClient, settings: Settings, filters: Sequence[Mapping[str, str]], price: Price
) -> Iterator[tuple[str, KnownJob]]:
    """The jobs that pass all filters, the newest first, each after the name of its dataset."""
    pages = sagemaker.get_paginator("search").paginate(
        Resource="TrainingJob",
        SearchExpression={"Filters": filters},  # type: ignore[typeddict-item]
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": 100},
    )
    now = datetime.now(UTC).timestamp()
    for page in pages:
        for entry in page["Results"]:
            described: Mapping[str, Any] = entry["TrainingJob"]
            if is_of_installation(described, settings.output_bucket):
                yield _known(described, price, now)


def _known(described: Mapping[str, Any], price: Price, now: float) -> tuple[str, KnownJob]:
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags") or ()}
    dataset, _, version = tags.get("dataset-version", "").partition("/")
    result = JobResult.of_training_job(described)
    seconds = billable_seconds(described, now)
    an_hour = price(result.instance_type, "training") if result.instance_type else None
    job = KnownJob(
        result=result,
        created=described["CreationTime"],
        dag=tags.get("dag", ""),
        run=tags.get("run", ""),
        task=tags.get("task", ""),
        version=version,
        seconds=seconds,
        cost=None if an_hour is None else an_hour * result.instance_count * seconds / 3600,
        stage=described.get("SecondaryStatus", ""),
        tuning_job=described.get("TuningJobArn", "").rpartition("/")[2],
    )
    return dataset, job
