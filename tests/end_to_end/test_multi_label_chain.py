"""The whole chain over images of several classes: a label table, 0/1 records, real training, a real endpoint."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from include.datasets.version import DatasetVersion, held_out_images
from include.evaluation.held_out_answers import HeldOutAnswers
from include.recordio.format import decode_image_record, read_records
from tests.support.airflow_home import ROOT
from tests.support.lines import grown_one, line
from tests.support.world import SMALL, World, running_world

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.usefixtures("airflow_database"),
]

CORNERS = {"red": (0, 0, 2), "green": (0, 14, 1), "blue": (14, 0, 0)}
"""Where a class shows, and in which channel (blue, green, red)."""
FLAGS = [flags for flags in product((0, 1), repeat=3) if any(flags)]
IMAGES = 84
KINDS = (".jpg", ".png", ".gif", ".avif")
LARGE = (33, 37, 49, 73)
"""PNGs of more bytes than an endpoint takes; one of them at least is a test image."""
TABLE = "tables/colours.csv"


def image(number: int) -> bytes:
    """A gray square with a coloured corner for each of its classes; the noise makes every image another one."""
    pixels = np.random.default_rng(number).integers(90, 130, (28, 28, 3), dtype=np.uint8)
    for (top, left, channel), shown in zip(CORNERS.values(), FLAGS[number % len(FLAGS)], strict=True):
        if shown:
            pixels[top : top + 14, left : left + 14, channel] = 250
    if number in LARGE:
        grown = cv2.resize(pixels, (2000, 2000), interpolation=cv2.INTER_NEAREST).astype(np.int16)
        noise = np.random.default_rng(number).integers(-20, 21, grown.shape, dtype=np.int16)
        pixels = np.clip(grown + noise, 0, 255).astype(np.uint8)
    written, encoded = cv2.imencode(kind(number), pixels)
    assert written
    return encoded.tobytes()


def kind(number: int) -> str:
    """Packing reads all of these; the container reads neither GIF nor AVIF, and an endpoint takes no 6.3 MB."""
    return KINDS[number % len(KINDS)]


def write(world: World, count: int) -> None:
    """`count` images under `photos/` in a bucket of their own, and the table that labels them."""
    lines = ["path,red,green,blue"]
    for number in range(count):
        world.s3.put_object(Bucket="photos-of-acme", Key=f"photos/{number:02d}{kind(number)}", Body=image(number))
        lines.append(
            f"s3://photos-of-acme/photos/{number:02d}{kind(number)},{','.join(map(str, FLAGS[number % len(FLAGS)]))}"
        )
    world.s3.put_object(Bucket=world.settings.data_bucket, Key=TABLE, Body="\n".join(lines).encode())


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, running_world(module_path) as world:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.s3.create_bucket(Bucket="photos-of-acme")
        write(world, IMAGES)
        yield world


@pytest.fixture(scope="module")
def returned(airflow_database: None, world: World) -> dict[str, Any]:
    """What the tasks of a run handed on."""
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415  (the home comes first)

    conf = {
        **SMALL,
        "dataset.name": "colours",
        "dataset.label_tables": f"s3://{world.settings.data_bucket}/{TABLE}",
        "dataset.multi_label": True,
        "dataset.labels": ["blue", "red", "green"],
        "training.hyperparameters.use_weighted_loss": 1,
        "training.hyperparameters.mini_batch_size": 8,
        "training.hyperparameters.optimizer": "adam",
        "training.hyperparameters.learning_rate": 0.005,
        "training.hyperparameters.epochs": 2,
        "incremental.hyperparameters": {"epochs": 1, "learning_rate": 0.001},
        "endpoint.keep": False,
    }
    run = DagBag(ROOT / "dags").dags["image_classification"].test(run_conf=conf)
    instances = run.get_task_instances()
    assert {instance.task_id: str(instance.state) for instance in instances if instance.state == "failed"} == {}
    assert run.state == "success"
    return {
        instance.task_id: instance.xcom_pull(instance.task_id, map_indexes=instance.map_index) for instance in instances
    }


@pytest.fixture(scope="module")
def version(returned: dict[str, Any]) -> DatasetVersion:
    return DatasetVersion.model_validate(returned["dataset.publish"])


def test_every_record_says_for_each_class_whether_the_image_shows_it(world: World, version: DatasetVersion) -> None:
    assert (version.multi_label, version.labels, version.counts.total) == (True, ["blue", "red", "green"], IMAGES)
    records = 0
    for split in ("train", "validation", "test"):
        body = world.s3.get_object(Bucket=version.layout.bucket, Key=version.layout.records(split))["Body"].read()
        for record in read_records(body):
            assert len(decode_image_record(record.payload).labels) == 3
            records += 1
    assert records == IMAGES
    for image in held_out_images(world.s3, version):
        red, green, blue = FLAGS[int(Path(image.key).stem) % len(FLAGS)]
        assert image.labels == (blue, red, green)


def test_both_jobs_were_told_that_images_have_several_labels(world: World, returned: dict[str, Any]) -> None:
    for task in ("training.train", "training.train_incremental"):
        job = world.sagemaker.describe_training_job(TrainingJobName=returned[task]["name"])
        assert job["TrainingJobStatus"] == "Completed"
        told = {name: job["HyperParameters"][name] for name in ("multi_label", "num_classes", "use_weighted_loss")}
        assert told == {"multi_label": "1", "num_classes": "3", "use_weighted_loss": "1"}


def body_of(world: World, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = world.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def test_the_model_is_measured_class_by_class(world: World, returned: dict[str, Any], version: DatasetVersion) -> None:
    evaluation = returned["evaluation.evaluate"]
    assert evaluation["images"] == version.counts.test
    assert {label: score["images"] for label, score in evaluation["classes"].items()} == {
        label: counts.test for label, counts in version.class_counts.items()
    }
    sources = {Path(image.key).suffix for image in held_out_images(world.s3, version)}
    assert sources >= {".gif", ".avif"}, "which the container does not read: it is sent the packed image"
    assert max(len(image(int(Path(held_out.key).stem))) for held_out in held_out_images(world.s3, version)) > 6_291_456
    assert evaluation["top_k"] is None
    assert 0 < evaluation["mean_average_precision"] <= 1
    page = body_of(world, evaluation["report_uri"]).decode()
    assert "mean average precision" in page
    assert "rightly shown" in page
    answers = HeldOutAnswers.load(world.s3, evaluation["predictions_uri"])
    assert (len(answers.keys), answers.labels) == (version.counts.test, tuple(version.labels))
    assert (answers.chosen == answers.truth).mean() == pytest.approx(evaluation["accuracy"])
    with tarfile.open(fileobj=io.BytesIO(body_of(world, evaluation["results_uri"]))) as archive:
        assert {"report.html", "predictions.parquet", "run_conf.json"} <= {*archive.getnames()}


def test_the_endpoint_answers_for_every_class(returned: dict[str, Any], version: DatasetVersion) -> None:
    answers = returned["deployment.predict"]
    assert answers["evaluation"]["images"] == version.counts.test
    assert answers["evaluation"]["accuracy"] == pytest.approx(returned["evaluation.evaluate"]["accuracy"], abs=1e-9)
    for prediction in answers["predictions"]:
        red, green, blue = FLAGS[int(Path(prediction["image"]).stem) % len(FLAGS)]
        shown = zip(version.labels, (blue, red, green), strict=True)
        assert prediction["expected"].split(", ") == [label for label, flag in shown if flag]
        assert prediction["correct"] == (prediction["label"] in prediction["expected"].split(", "))


def test_the_summary_tells_the_endpoints_accuracy(returned: dict[str, Any], version: DatasetVersion) -> None:
    summary = returned["summarise"]
    assert summary["test_accuracy"] == returned["deployment.predict"]["evaluation"]["accuracy"]
    assert summary["dataset"]["counts"] == version.counts.model_dump()
    assert [job["status"] for job in summary["training_jobs"]] == ["Completed", "Completed"]


def test_rows_that_are_added_to_the_table_start_a_retraining(world: World, version: DatasetVersion) -> None:
    bucket = world.settings.data_bucket
    assert grown_one(world.s3, line(), data_bucket=bucket) is None
    write(world, IMAGES + 7)
    found = grown_one(world.s3, line(), data_bucket=bucket)
    assert found is not None
    assert (found.new_images, found.parent) == (7, version.uri)
    assert found.conf.dataset.multi_label
