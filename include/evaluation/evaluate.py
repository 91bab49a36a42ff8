"""Evaluate a model: the answers of a finished transform job against the truth of the held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from include.datasets.packed_test_images import record_id_of
from include.datasets.version import held_out_images
from include.deployment.prediction import prediction_of
from include.evaluation.metrics import Evaluation, measure
from include.evaluation.page import Example, ReportContents
from include.evaluation.report import write_report
from include.evaluation.transform import TransformError, read_answers, read_manifest
from include.sagemaker.epochs import epochs_of_job

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion
    from include.evaluation.leaderboard import Leaderboard
    from include.sagemaker.epochs import EpochMetrics
    from include.sagemaker.job_results import JobResult
    from include.sagemaker.naming import Run
    from include.settings import Settings
    from include.training.best_model import BestModel

EXAMPLES = 12
LARGEST_EXAMPLE = 200_000
"""Bytes of an image that the page still shows."""


def evaluate(
    s3: S3Client,
    logs: CloudWatchLogsClient,
    *,
    job: JobResult,
    best: BestModel,
    transform_job: str,
    dataset: DatasetVersion,
    settings: Settings,
    run: Run,
    top_k: int | None = None,
    leaderboard: Leaderboard | None = None,
) -> Evaluation:
    """Measure the model of `job` and write the run's report; `best` is the model it trained further, or itself.

    Epochs that the `leaderboard` tells are not read from the logs again.
    Raises TransformError for images without an answer.
    """
    uris = read_manifest(s3, settings=settings, job=transform_job)
    answers = read_answers(s3, settings=settings, job=transform_job, uris=uris, classes=dataset.num_classes)
    by_record = {record_id_of(uri): values for uri, values in zip(uris, answers, strict=True)}
    truth, examples = _truth_and_examples(s3, dataset, by_record)
    if truth.keys() != by_record.keys():
        raise TransformError(
            f"Transform job {transform_job} was not of dataset version {dataset.uri}: it measured {len(by_record)} "
            f"images, and the test split has {len(truth)}, of which it measured {len(truth.keys() & by_record.keys())}."
        )
    measured = measure(
        [truth[record_id] for record_id in by_record],
        list(by_record.values()),
        dataset.labels,
        multi_label=dataset.multi_label,
        top_k=top_k,
    )
    epochs = _epochs(logs, job.name, leaderboard)
    contents = ReportContents(
        dataset=dataset,
        job=job.with_epochs(epochs),
        best=best,
        measurement=measured,
        job_epochs=epochs,
        base_epochs=epochs if best.job == job.name else _epochs(logs, best.job, leaderboard),
        examples=examples,
        leaderboard=leaderboard,
    )
    return write_report(s3, contents, settings=settings, run=run)


def _epochs(logs: CloudWatchLogsClient, job: str, leaderboard: Leaderboard | None) -> Sequence[EpochMetrics]:
    known = leaderboard.job(job) if leaderboard else None
    return known.epochs if known and known.epochs else epochs_of_job(logs, job)


def _truth_and_examples(
    s3: S3Client, dataset: DatasetVersion, answers: Mapping[int, Sequence[float]]
) -> tuple[dict[int, tuple[float, ...]], list[Example]]:
    """The labels of every held-out image by its record, and a few images to show, the model's mistakes first."""
    truth: dict[int, tuple[float, ...]] = {}
    right: list[Example] = []
    wrong: list[Example] = []
    for image in held_out_images(s3, dataset):
        truth[image.id] = image.labels
        values = answers.get(image.id)
        if values is None or len(image.image_bytes) > LARGEST_EXAMPLE:
            continue
        prediction = prediction_of(image.key, values, image.labels, dataset.labels, multi_label=dataset.multi_label)
        shown = right if prediction.correct else wrong
        if len(shown) < EXAMPLES:
            shown.append(Example(image.image_bytes, prediction))
    mistakes = wrong[: EXAMPLES // 2]
    return truth, [*mistakes, *right[: EXAMPLES - len(mistakes)]]
