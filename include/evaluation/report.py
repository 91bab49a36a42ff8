"""The report of a run in S3: figures for machines, a page for people."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from include.evaluation.metrics import Evaluation, Measurement
from include.evaluation.page import ReportContents, report_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_s3 import S3Client

    from include.sagemaker.naming import Run
    from include.settings import Settings


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
