"""What a finished run made, read back from Airflow, from SageMaker and from S3."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from demo.airflow_client import AirflowClient
from demo.bootstrap import client_config
from demo.progress import stages
from demo.training_jobs import TrainingJob

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

    from demo.services import Services

PUBLISH = "dataset.publish"
SELECT_BEST = "training.select_best"
DEPLOY = "deployment.deploy"
PREDICT = "deployment.predict"
TESTED = ("test", "packed")
"""Split and status of the images that an evaluation sends."""


class SummaryError(Exception):
    """The run left out something the summary is about."""


@dataclass(frozen=True)
class Summary:
    """The figures of `.local/demo-summary.json` and of `demo-pytorch-summary.json`, under the same names.

    `predictions` are those that the run measured the endpoint with: how many, how many were right, and how fast the
    answers came, in milliseconds. `success_by_class` is the share of each class's test images that is named rightly.
    Accuracies are 0 to 1; `incremental` is None if no model was trained further.
    """

    dataset: dict[str, Any]
    training_jobs: list[dict[str, Any]]
    best_job: str
    incremental: dict[str, Any] | None
    test_accuracy: float
    success_by_class: dict[str, float]
    endpoint: str
    prediction: dict[str, Any]
    predictions: dict[str, Any]
    ui: dict[str, str]
    stages: dict[str, float]
    wall_seconds: float

    def to_json(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_summary(
    airflow: AirflowClient, session: boto3.Session, services: Services, run_id: str, jobs: Sequence[TrainingJob]
) -> Summary:
    """Read a finished run of `image_classification` back from the services."""
    dag_id = "image_classification"

    def returned(task_id: str) -> dict[str, Any]:
        document = airflow.returned(dag_id, run_id, task_id)
        if not isinstance(document, dict):
            raise SummaryError(f"The task {task_id} of {run_id} passed on no document.")
        return document

    s3 = session.client("s3", endpoint_url=services.aws_url, config=client_config())
    runtime = session.client("sagemaker-runtime", endpoint_url=services.aws_url, config=client_config())
    version = read_json(s3, returned(PUBLISH)["uri"] + "dataset.json")
    best = str(returned(SELECT_BEST)["job"])
    endpoint = str(returned(DEPLOY)["name"])
    answered = returned(PREDICT)
    prediction = answered["predictions"][0]
    right = right_by_class(s3, runtime, endpoint, version)
    run = airflow.dag_run(dag_id, run_id)
    order = airflow.task_order(dag_id)
    return Summary(
        dataset={
            "name": version["name"],
            "version": version["version"],
            "uri": version["uri"],
            "counts": {split: version["counts"][split] for split in ("train", "validation", "test")},
        },
        training_jobs=[
            {
                "name": job.name,
                "role": job.role,
                "status": job.status,
                "hyperparameters": job.hyperparameters,
                "accuracy": job.accuracy,
                "metrics": job.metrics,
            }
            for job in jobs
        ],
        best_job=best,
        incremental=_incremental(jobs, best),
        test_accuracy=sum(map(sum, right.values())) / sum(map(len, right.values())),
        success_by_class={label: sum(found) / len(found) for label, found in right.items()},
        endpoint=endpoint,
        prediction={name: prediction[name] for name in ("expected", "label", "probability")},
        predictions=_timed(answered["evaluation"]),
        ui={"url": services.airflow_url, "user": services.user, "password": services.password},
        stages={
            stage.name: round(stage.seconds, 1)
            for stage in stages(airflow.task_runs(dag_id, run_id), order)
            if stage.seconds is not None
        },
        wall_seconds=round(run.wall_seconds, 1),
    )


def dataset_page(s3: S3Client, summary: Summary) -> bytes:
    """The page that the dataset version has in S3."""
    return read_bytes(s3, summary.dataset["uri"] + "report.html")


def _timed(measured: Mapping[str, Any]) -> dict[str, Any]:
    latency = measured["latency"]
    return {
        "images": measured["images"],
        "right": round(measured["images"] * measured["accuracy"]),
        **{name: latency[name] for name in ("p50", "p90", "p99", "seconds", "images_per_second")},
    }


def _incremental(jobs: Sequence[TrainingJob], best: str) -> dict[str, Any] | None:
    by_name = {job.name: job for job in jobs}
    incremental = next((job for job in jobs if job.role == "incremental"), None)
    if best not in by_name:
        raise SummaryError(f"The best job {best} is not among {', '.join(by_name) or 'any jobs'}.")
    if incremental is None:
        return None
    return {
        "job": incremental.name,
        "first_epoch_validation_accuracy": incremental.accuracies[0],
        "base_first_epoch_validation_accuracy": by_name[best].accuracies[0],
    }


def right_by_class(
    s3: S3Client, runtime: SageMakerRuntimeClient, endpoint: str, version: dict[str, Any]
) -> dict[str, list[bool]]:
    """Send every packed test image to the endpoint; returns whether it names each rightly, by class in class order.

    The evaluation wrote each of them to an object that is named by the number of its record.
    """
    labels = version["labels"]
    manifest = BytesIO(read_bytes(s3, version["uri"] + "manifest.parquet"))
    rows = pq.read_table(manifest, columns=["record_id", "split", "status", "labels"]).to_pylist()
    expected = {row["record_id"]: row["labels"][0] for row in rows if (row["split"], row["status"]) == TESTED}
    bucket, _, prefix = f"{version['uri']}images/test/".removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    sent = {int(key.rpartition("/")[2].partition(".")[0]): key for key in keys}
    if not expected or sent.keys() != expected.keys():
        raise SummaryError(
            f"The dataset version {version['uri']} has {len(expected)} test images, and {len(sent)} lie at "
            f"s3://{bucket}/{prefix}."
        )

    def is_right(record_id: int) -> bool:
        image = s3.get_object(Bucket=bucket, Key=sent[record_id])
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType=image["ContentType"], Body=image["Body"].read()
        )
        probabilities = json.loads(answer["Body"].read())
        return bool(labels[probabilities.index(max(probabilities))] == expected[record_id])

    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = dict(zip(expected, pool.map(is_right, expected), strict=True))
    found = {label: [right for record, right in answers.items() if expected[record] == label] for label in labels}
    return {label: right for label, right in found.items() if right}


def read_json(s3: S3Client, uri: str) -> dict[str, Any]:
    """A JSON document in S3."""
    document: dict[str, Any] = json.loads(read_bytes(s3, uri))
    return document


def read_bytes(s3: S3Client, uri: str) -> bytes:
    """An object in S3."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def print_summary(console: Console, summary: Summary, jobs: Sequence[TrainingJob]) -> None:
    """Show the summary as a table."""
    counts, prediction, timed = summary.dataset["counts"], summary.prediction, summary.predictions
    incremental, best = summary.incremental, next(job for job in jobs if job.name == summary.best_job)
    worst = min(summary.success_by_class, key=lambda label: summary.success_by_class[label])
    tuned = sum(job.role == "tuning" for job in jobs)
    accuracy = "not in its log" if best.accuracy is None else f"{best.accuracy:.4f}"
    rows = {
        "Dataset": f"{summary.dataset['name']} {summary.dataset['version']}: {counts['train']} training, "
        f"{counts['validation']} validation, {counts['test']} test images",
        "Training jobs": f"{len(jobs)}, {tuned} of them tuning",
        "Best job": f"{summary.best_job} (validation accuracy {accuracy})",
        **(
            {
                "Incremental": f"first epoch {incremental['first_epoch_validation_accuracy']:.4f}, "
                f"the best job's first epoch {incremental['base_first_epoch_validation_accuracy']:.4f}"
            }
            if incremental
            else {}
        ),
        "Test accuracy": f"{summary.test_accuracy:.4f} ({counts['test']} images sent to the endpoint)",
        "Classes": f"{len(summary.success_by_class)}, the worst is {worst} with {summary.success_by_class[worst]:.4f}",
        "Endpoint": summary.endpoint,
        "Prediction": f"{prediction['label']} with probability {prediction['probability']:.4f}, "
        f"expected {prediction['expected']}",
        "Latency": f"{timed['images']} images, half of them in {timed['p50']:.0f} ms or less, "
        f"{timed['images_per_second']:.0f} images/s",
        "Run": f"{summary.wall_seconds:.0f} s",
    }
    print_rows(console, rows)


def print_rows(console: Console, rows: Mapping[str, str]) -> None:
    """Names and what they stand for, side by side."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(name, text)
    console.print()
    console.print(table)
