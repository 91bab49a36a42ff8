from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from include.datasets.packed_test_images import write_packed_test_images
from include.evaluation.evaluate import evaluate
from include.evaluation.leaderboard import read_leaderboard
from include.evaluation.metrics import Evaluation
from include.evaluation.transform import TransformError, write_manifest
from include.sagemaker.job_kinds import TRAINING_LOGS
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from include.training.best_model import BestModel
from include.training.run_jobs import RunJob
from tests.support.documents import described_training_job, settings
from tests.unit.evaluation.conftest import classify
from tests.unit.pages.reading import ReadPage

RUN = Run("image_classification", "manual__2026-01-02")
BEST = BestModel(
    job="base-job",
    objective="validation:accuracy",
    value=0.5,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={},
)
CHANNELS = [{"ChannelName": name, "DataSource": {}} for name in ("train", "model")]


def write_epochs(logs: Any, job: str, accuracies: list[float]) -> None:
    logs.create_log_stream(logGroupName=TRAINING_LOGS, logStreamName=f"{job}/algo-1")
    events = [
        {"timestamp": int(time.time() * 1000), "message": f"Epoch[{epoch}] Validation-accuracy={accuracy}"}
        for epoch, accuracy in enumerate(accuracies)
    ]
    logs.put_log_events(logGroupName=TRAINING_LOGS, logStreamName=f"{job}/algo-1", logEvents=events)


@pytest.fixture(scope="module")
def evaluation(world: Any) -> Evaluation:
    """An evaluation of a model that is wrong about one image."""
    logs = world.client("logs")
    logs.create_log_group(logGroupName=TRAINING_LOGS)
    write_epochs(logs, "base-job", [0.25, 0.5, 0.375])
    write_epochs(logs, "next-job", [0.75, 0.875])
    images = write_packed_test_images(world.s3, world.dataset)
    write_manifest(world.s3, images, settings=settings(), job="transform-1")
    for number, uri in enumerate(images.uris):
        answer = [0.1, 0.2, 0.7] if number == 0 else classify(world.read(uri))
        key = f"transform/transform-1/answers/{uri.rpartition('/')[2]}.out"
        world.s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps(answer).encode())
    best = BEST
    base = JobResult.of_training_job(described_training_job())
    lost = base.model_copy(
        update={"name": "lost-job", "status": "Failed", "failure_reason": "<script>alert(1)</script>"}
    )
    jobs = [RunJob(base, "base"), RunJob(lost, "base")]
    return evaluate(
        world.s3,
        logs,
        job=JobResult.of_training_job(described_training_job("next-job", InputDataConfig=CHANNELS)),
        best=best,
        transform_job="transform-1",
        dataset=world.dataset,
        settings=settings(),
        run=RUN,
        leaderboard=read_leaderboard(logs, jobs, best=best, final="next-job", prices={}),
    )


def test_the_evaluation_says_how_good_the_model_is_and_where_to_read_more(world: Any, evaluation: Evaluation) -> None:
    images = world.dataset.counts.test
    assert (evaluation.job, evaluation.images) == ("next-job", images)
    assert evaluation.accuracy == pytest.approx((images - 1) / images)
    assert list(evaluation.classes) == world.dataset.labels
    assert evaluation.report_uri == f"s3://models-of-acme/reports/{RUN.name}/report.html"


def test_the_report_says_what_was_sent(world: Any, evaluation: Evaluation) -> None:
    where = f"{world.dataset.uri}images/test/"
    sent = json.loads(world.read(evaluation.metrics_uri))["sent"]
    assert (sent["images"], sent["prefix"]) == ("packed test images", where)
    assert sent["packing"] == world.dataset.packing.as_dict()
    page = world.read(evaluation.report_uri).decode()
    assert f"each test image as it is packed (JPEG of quality 95), from {where}." in page


def test_answers_for_other_images_than_those_of_the_version_are_refused(world: Any) -> None:
    images = write_packed_test_images(world.s3, world.dataset)
    write_manifest(world.s3, replace(images, names=images.names[1:]), settings=settings(), job="fewer")
    for name in images.names:
        key = f"transform/fewer/answers/{name}.out"
        world.s3.put_object(Bucket="models-of-acme", Key=key, Body=json.dumps([0.1, 0.2, 0.7]).encode())
    with pytest.raises(TransformError, match=r"Transform job fewer was not of dataset version s3://.*: it measured"):
        evaluate(
            world.s3,
            world.client("logs"),
            job=JobResult.of_training_job(described_training_job("next-job", InputDataConfig=CHANNELS)),
            best=BEST,
            transform_job="fewer",
            dataset=world.dataset,
            settings=settings(),
            run=RUN,
        )


def test_the_figures_are_kept_for_machines(world: Any, evaluation: Evaluation) -> None:
    metrics = json.loads(world.read(evaluation.metrics_uri))
    assert metrics["accuracy"] == evaluation.accuracy
    assert (metrics["validation_accuracy"], metrics["kept_epoch"]) == (0.875, 2)
    assert (metrics["base_job"], metrics["job"], metrics["role"]) == ("base-job", "next-job", "incremental")
    assert [epoch["metrics"] for epoch in metrics["epochs"]["incremental next-job"]] == [
        {"validation:accuracy": 0.75},
        {"validation:accuracy": 0.875},
    ]
    folder = evaluation.metrics_uri.removesuffix("metrics.json")
    assert "macro avg" in json.loads(world.read(f"{folder}classification_report.json"))
    assert world.read(f"{folder}confusion_matrix.csv").decode().startswith("expected,<b>dark,grey,light\n")


def test_the_page_stands_alone_and_escapes_what_it_shows(world: Any, evaluation: Evaluation) -> None:
    page = world.read(evaluation.report_uri).decode()
    read = ReadPage(page)
    assert "script" not in read.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;dark" in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in read.addresses)
    assert len(read.addresses) == min(12, evaluation.images)


def test_the_page_shows_base_against_incremental(world: Any, evaluation: Evaluation) -> None:
    page = world.read(evaluation.report_uri).decode()
    first_epochs = page[page.index("First epoch: base against incremental") :]
    rows = re.findall(r"<tr><td>(\w+ [\w-]+)</td><td>([\d.%]+)</td><td>([^<]+)</td></tr>", first_epochs)
    assert rows[:2] == [
        ("base base-job", "25.00%", "50.00%, epoch 2"),
        ("incremental next-job", "75.00%", "87.50%, epoch 2"),
    ]
    assert page.count("<polyline") == 3  # both, and the base job once more among its trials
    assert 'class="wrong"' in page
