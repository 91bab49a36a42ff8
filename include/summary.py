"""What a run did, read back from the services and kept beside its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from include.evaluation import write_beside_report
from include.evaluation.endpoint_accuracy import EndpointEvaluation, Latency
from include.evaluation.prediction import Prediction
from include.sagemaker.api import existing
from include.sagemaker.job_results import JobRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient

    from include.datasets.version import DatasetVersion
    from include.deployment.registry import RegisteredModel
    from include.evaluation.comparison import Comparison
    from include.evaluation.leaderboard import Leaderboard, LeaderboardJob
    from include.evaluation.metrics import Evaluation
    from include.sagemaker.naming import Run
    from include.settings import Settings


ROLES: dict[str, JobRole] = {"tuning": "tuning", "incremental": "incremental"}
"""The roles of jobs by the part they played; all others trained from scratch."""


VERDICTS = {"not_worse": "not worse", "better": "better", "off": "not compared"}
"""An accepted model beside its champion, by `promotion.compare`."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class DatasetSummary(_Document):
    """The dataset version; `counts` are images by split."""

    name: str
    version: str
    counts: dict[str, int]


class TrainingJobSummary(_Document):
    """A training job of the run.

    `accuracy` is the validation accuracy of the weights it kept, `metrics` the last value of each, as AWS reports it.
    """

    name: str
    role: JobRole
    status: str
    hyperparameters: dict[str, str]
    accuracy: float | None = None
    metrics: dict[str, float]
    billable_seconds: int | None = None


class IncrementalSummary(_Document):
    """The incremental training against the job whose model it trained further, both after their first epoch."""

    job: str
    base_job: str
    first_epoch_validation_accuracy: float | None
    base_first_epoch_validation_accuracy: float | None


class Summary(_Document):
    """The run in figures. `test_accuracy` was measured through the endpoint; without one, by the transform job.

    `latency` is how fast the endpoint answered.
    """

    dataset: DatasetSummary
    training_jobs: tuple[TrainingJobSummary, ...]
    best_job: str | None = None
    incremental: IncrementalSummary | None = None
    test_accuracy: float | None = None
    model_package: str | None = None
    approval: str | None = None
    reason: str | None = None
    endpoint: str | None = None
    endpoint_status: str | None = None
    latency: Latency | None = None
    prediction: Prediction | None = None
    report: str | None = None
    note: str = ""
    """The run in one sentence, as its note in Airflow has it."""

    def lines(self) -> list[str]:
        """The run in a few sentences, one for each thing it made."""
        counts = ", ".join(f"{count} {split}" for split, count in self.dataset.counts.items())
        lines = [f"Dataset {self.dataset.name} {self.dataset.version}: {counts} images."]
        if self.best_job:
            lines.append(f"{len(self.training_jobs)} training jobs; {self.best_job} was selected.")
        if self.test_accuracy is not None:
            lines.append(f"Accuracy on held-out images: {self.test_accuracy:.4f}.")
        if self.model_package:
            lines.append(f"Registered as {self.model_package}: {self.approval}.")
        if self.endpoint:
            lines.append(f"Endpoint {self.endpoint}: {self.endpoint_status}.")
            if self.latency:
                lines.append(f"Latency of the endpoint: {self.latency}.")
        elif self.approval not in (None, "Approved"):
            why = f": {self.reason.rstrip('.')}" if self.reason else ""
            lines.append(f"Not deployed: the model is {self.approval}{why}.")
        return lines


def summarise(
    sagemaker: SageMakerClient,
    *,
    dataset: DatasetVersion,
    leaderboard: Leaderboard | None = None,
    base_job: str | None = None,
    incremental_job: str | None = None,
    evaluation: Evaluation | None = None,
    registered: RegisteredModel | None = None,
    endpoint: str | None = None,
    endpoint_evaluation: EndpointEvaluation | None = None,
    comparison: Comparison | None = None,
    rollout: str = "",
    predictions: Sequence[Prediction] = (),
) -> Summary:
    """Read what became of the run's model and endpoint; the jobs are those of the `leaderboard`.

    `base_job` is the job whose model was selected, of this run or of an earlier one. An endpoint that was taken down is
    shown as `Deleted`, also while AWS still does it. `comparison` is that with the champion, and `rollout` is
    `EndpointResult.rollout`.
    """
    jobs = [job for job in leaderboard.jobs if job.part != "parent"] if leaderboard else []
    measured = endpoint_evaluation or evaluation
    counts, status = dataset.counts, _endpoint_status(sagemaker, endpoint)
    reached = reached_beside_the_champion(evaluation, comparison) if evaluation else ""
    if evaluation and registered and evaluation.champion == registered.arn:
        reached += ", stays the champion"
    became = _became(registered, endpoint, status, rollout) if registered else "not registered"
    subject = f"{registered.dataset} v{registered.version}" if registered else dataset.name
    return Summary(
        dataset=DatasetSummary(
            name=dataset.name,
            version=dataset.version,
            counts={"train": counts.train, "validation": counts.validation, "test": counts.test},
        ),
        training_jobs=tuple(_training_job(job) for job in jobs),
        best_job=base_job,
        incremental=_incremental(leaderboard, incremental_job, base_job),
        test_accuracy=measured.accuracy if measured else None,
        model_package=registered.arn if registered else None,
        approval=registered.approval if registered else None,
        reason=registered.reason if registered and not registered.approved else None,
        endpoint=endpoint,
        endpoint_status=status,
        latency=endpoint_evaluation.latency if endpoint_evaluation else None,
        prediction=predictions[0] if predictions else None,
        report=evaluation.report_uri if evaluation else None,
        note=f"{subject}: {', '.join(filter(None, (reached, became)))}",
    )


def reached_beside_the_champion(evaluation: Evaluation, comparison: Comparison | None = None) -> str:
    """The accuracy with its number of images, the champion's on the same ones, and the verdict in a word or two."""
    verdict = VERDICTS[evaluation.verdict.compare] if evaluation.verdict and evaluation.verdict.accepted else "refused"
    if comparison is None:
        said = f" ({verdict})" if evaluation.verdict and not evaluation.verdict.accepted else ""
        return f"{evaluation.accuracy:.1%} of {evaluation.images:,} images{said}"
    figures = comparison.all_images
    name = "" if comparison.figure == "accuracy" else f" {comparison.figure.replace('_', ' ')}"
    return f"{figures.challenger:.1%}{name} on {figures.images:,} images (champion {figures.champion:.1%}, {verdict})"


def _became(registered: RegisteredModel, endpoint: str | None, status: str | None, rollout: str) -> str:
    if endpoint and status == "InService":
        done = f"{rollout} done, " if rollout else ""
        return f"{done}serving at {endpoint}"
    if endpoint:
        return f"endpoint {endpoint} is {status}"
    words = {"Approved": "approved, not deployed", "Rejected": "rejected"}
    return words.get(registered.approval, "waits for a person's approval")


def write_summary(s3: S3Client, summary: Summary, *, settings: Settings, run: Run) -> str:
    """Keep the summary beside the run's report; returns its address."""
    return write_beside_report(s3, "summary.json", summary, settings=settings, run=run)


def _training_job(job: LeaderboardJob) -> TrainingJobSummary:
    return TrainingJobSummary(
        name=job.job,
        role=ROLES.get(job.part, "base"),
        status=job.status,
        hyperparameters=job.hyperparameters,
        accuracy=job.objective,
        metrics=job.metrics,
        billable_seconds=job.billable_seconds,
    )


def _incremental(leaderboard: Leaderboard | None, job: str | None, base_job: str | None) -> IncrementalSummary | None:
    if not job or not base_job or leaderboard is None:
        return None
    incremental, base = leaderboard.job(job), leaderboard.job(base_job)
    return IncrementalSummary(
        job=job,
        base_job=base_job,
        first_epoch_validation_accuracy=incremental.first_epoch if incremental else None,
        base_first_epoch_validation_accuracy=base.first_epoch if base else None,
    )


def _endpoint_status(sagemaker: SageMakerClient, endpoint: str | None) -> str | None:
    if not endpoint:
        return None
    description = existing(sagemaker.describe_endpoint, EndpointName=endpoint)
    status = str(description["EndpointStatus"]) if description else "Deleting"
    return "Deleted" if status == "Deleting" else status
