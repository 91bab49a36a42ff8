"""Evaluate a model: the answers of a finished transform job against the truth of the held-out images.

The report of it lies in S3: figures for machines, a page for people.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from include.datasets.packed_test_images import record_id_of
from include.datasets.version import held_out_images
from include.evaluation.evaluation_page import Example, ReportContents, report_page
from include.evaluation.metrics import Evaluation, Measurement, measure
from include.evaluation.prediction import prediction_of
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

    Epochs that the `leaderboard` has are not read from the logs again.
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


def write_report(s3: S3Client, contents: ReportContents, *, settings: Settings, run: Run) -> Evaluation:
    """Write metrics.json, confusion_matrix.csv, classification_report.json and report.html.

    They lie under `s3://OUTPUT/reports/RUN/`; a retried task writes the same files again.
    """
    prefix = settings.report_prefix(run.name)
    measured = contents.measurement
    files = {
        "metrics.json": (_json(_metrics(contents)), "application/json"),
        "classification_report.json": (_json(measured.report), "application/json"),
        "confusion_matrix.csv": (confusion_csv(measured, contents.dataset.labels), "text/csv"),
        "report.html": (report_page(contents), "text/html; charset=utf-8"),
    }
    for name, (text, content_type) in files.items():
        s3.put_object(
            Bucket=settings.output_bucket, Key=f"{prefix}{name}", Body=text.encode(), ContentType=content_type
        )
    uri = f"s3://{settings.output_bucket}/{prefix}"
    return Evaluation(
        job=contents.job.name,
        images=measured.images,
        accuracy=measured.accuracy,
        top_k=measured.top_k,
        top_k_accuracy=measured.top_k_accuracy,
        mean_average_precision=measured.mean_average_precision,
        classes=measured.classes,
        report_uri=f"{uri}report.html",
        metrics_uri=f"{uri}metrics.json",
    )


def confusion_csv(measured: Measurement, labels: Sequence[str]) -> str:
    """The confusion matrix as CSV: a row for each expected class; of a multi-label dataset a row of counts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if measured.confusion.ndim == 2:
        writer.writerow(["expected", *labels])
        writer.writerows([label, *row.tolist()] for label, row in zip(labels, measured.confusion, strict=True))
    else:
        writer.writerow(["class", "true_negatives", "false_positives", "false_negatives", "true_positives"])
        writer.writerows(
            [label, *cells.ravel().tolist()] for label, cells in zip(labels, measured.confusion, strict=True)
        )
    return text.getvalue()


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


def _metrics(contents: ReportContents) -> dict[str, Any]:
    return {
        "dataset": contents.dataset.name,
        "dataset_version": contents.dataset.version,
        "job": contents.job.name,
        "role": contents.job.role,
        "base_job": contents.best.job,
        "validation_accuracy": contents.job.accuracy,
        "kept_epoch": contents.job.kept_epoch,
        "sent": {
            "images": "packed test images",
            "prefix": contents.dataset.layout.test_images_uri,
            "packing": contents.dataset.packing.as_dict(),
        },
        **contents.measurement.figures(),
        "epochs": {name: [epoch.model_dump(mode="json") for epoch in epochs] for name, epochs in contents.curves},
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)
