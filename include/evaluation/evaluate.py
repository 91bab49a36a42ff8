"""Evaluate a model: the answers of a finished transform job against the truth of the held-out images, and the report.

The report lies in S3: figures for machines, and for people one HTML file that stands alone and shows all that comes
from outside escaped.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.datasets.packed_test_images import record_id_of
from include.datasets.version import held_out_images
from include.evaluation.leaderboard import accuracy_curves, leaderboard_sections
from include.evaluation.metrics import Evaluation, Measurement, measure
from include.evaluation.prediction import Prediction, content_type, prediction_of
from include.evaluation.transform import TransformError, read_answers, read_manifest
from include.pages.charts import heat_map
from include.pages.elements import Markup, joined, page, section, shown, table
from include.sagemaker.epochs import KeptWeights, epochs_of_job, first_epoch_accuracy, kept_weights

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


@dataclass(frozen=True)
class Example:
    """One held-out image and what the model said of it."""

    image: bytes
    prediction: Prediction


@dataclass(frozen=True)
class ReportContents:
    """What a report shows: the evaluated job, where it came from, what it reached."""

    dataset: DatasetVersion
    job: JobResult
    best: BestModel
    measurement: Measurement
    job_epochs: Sequence[EpochMetrics]
    base_epochs: Sequence[EpochMetrics]
    examples: Sequence[Example]
    leaderboard: Leaderboard | None = None

    @property
    def curves(self) -> list[tuple[str, Sequence[EpochMetrics]]]:
        """Epochs by the part their job played; base and incremental if the evaluated job trained a base further."""
        if self.job.name == self.best.job:
            return [(f"base {self.best.job}", self.job_epochs)]
        return [(f"base {self.best.job}", self.base_epochs), (f"{self.job.role} {self.job.name}", self.job_epochs)]


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
    for name, (text, kind) in files.items():
        s3.put_object(Bucket=settings.output_bucket, Key=f"{prefix}{name}", Body=text.encode(), ContentType=kind)
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


def report_page(contents: ReportContents) -> str:
    """The report as one HTML page."""
    dataset = contents.dataset
    sections = (
        section("Validation accuracy by epoch", accuracy_curves(contents.curves)),
        section("First epoch: base against incremental", _first_epochs(contents)),
        *(leaderboard_sections(contents.leaderboard) if contents.leaderboard else ()),
        section("Confusion matrix", _confusion(contents)),
        section("Classes", _classes(contents.measurement)),
        section("Held-out images", _examples(contents.examples)),
    )
    return page(
        title=f"{dataset.name}: {contents.measurement.accuracy:.2%} on held-out images",
        lead=(
            f"Dataset version {dataset.version}, model of {contents.job.role} job {contents.job.name}. What was sent "
            f"to the model is each test image as it is packed ({dataset.packing.in_words}), from "
            f"{dataset.layout.test_images_uri}."
        ),
        figures=_figures(contents),
        sections=sections,
    )


def _figures(contents: ReportContents) -> list[tuple[str, str]]:
    measured, counts = contents.measurement, contents.dataset.counts
    return [
        (f"{measured.accuracy:.2%}", "accuracy"),
        (f"{measured.top_k_accuracy:.2%}" if measured.top_k_accuracy is not None else "", f"top {measured.top_k}"),
        (
            f"{measured.mean_average_precision:.4f}" if measured.mean_average_precision is not None else "",
            "mean average precision",
        ),
        (f"{measured.images}", "held-out images"),
        (f"{contents.dataset.num_classes}", "classes"),
        (f"{counts.train} + {counts.validation}", "training + validation images"),
    ]


def _first_epochs(contents: ReportContents) -> Markup:
    if contents.job.role != "incremental":
        return Markup()
    best = contents.best
    kept = {
        best.job: kept_weights(contents.base_epochs, best.hyperparameters, reported=best.value),
        contents.job.name: kept_weights(
            contents.job_epochs, contents.job.hyperparameters, reported=contents.job.accuracy
        ),
    }
    rows = [
        (name, _percent(first_epoch_accuracy(epochs)), _kept(kept[job]))
        for job, (name, epochs) in zip(kept, contents.curves, strict=True)
    ]
    return table(("job", "validation accuracy after epoch 1", "of the model that was kept"), rows)


def _confusion(contents: ReportContents) -> Markup:
    confusion = contents.measurement.confusion
    if not contents.dataset.multi_label:
        totals = confusion.sum(axis=1)
        return heat_map(confusion, contents.dataset.labels, corner="expected \\ predicted", totals=totals)
    rows = [
        (label, *(str(int(count)) for count in (cells[1][1], cells[0][1], cells[1][0], cells[0][0])))
        for label, cells in zip(contents.dataset.labels, confusion, strict=True)
    ]
    return table(("class", "rightly shown", "wrongly shown", "missed", "rightly absent"), rows)


def _classes(measured: Measurement) -> Markup:
    rows = [
        (label, f"{score.precision:.4f}", f"{score.recall:.4f}", f"{score.f1:.4f}", str(score.images))
        for label, score in measured.classes.items()
    ]
    return table(("class", "precision", "recall", "F1", "images"), rows)


def _examples(examples: Iterable[Example]) -> Markup:
    figures = joined(_example(example) for example in examples)
    return Markup(f'<div class="examples">{figures}</div>') if figures else Markup()


def _example(example: Example) -> Markup:
    prediction = example.prediction
    kind = content_type(example.image)
    encoded = base64.b64encode(example.image).decode()
    return Markup(
        f'<figure class="{"right" if prediction.correct else "wrong"}">'
        f'<img alt="{shown(prediction.image)}" title="{shown(prediction.image)}" src="data:{kind};base64,{encoded}">'
        f"<figcaption><b>{shown(prediction.label)}</b> {prediction.probability:.1%}<br>"
        f"is {shown(prediction.expected)}</figcaption></figure>"
    )


def _percent(value: float | None) -> str:
    return "not in the log" if value is None else f"{value:.2%}"


def _kept(kept: KeptWeights | None) -> str:
    if kept is None:
        return _percent(None)
    return f"{kept.accuracy:.2%}" + (f", epoch {kept.epoch}" if kept.epoch else "")
