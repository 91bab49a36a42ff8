from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.algorithms.kinds import algorithm_of
from include.deployment.registry import RegisteredModel
from include.evaluation.comparison import Comparison, PairedFigures, Pairs
from include.evaluation.endpoint_accuracy import EndpointEvaluation, Latency
from include.evaluation.leaderboard import Leaderboard, read_leaderboard
from include.evaluation.metrics import Evaluation, Interval, Verdict
from include.evaluation.prediction import Prediction
from include.run_conf import RunConf
from include.sagemaker.api import TRAINING_LOGS
from include.sagemaker.job_results import describe_training_job
from include.sagemaker.naming import Run
from include.summary import summarise, write_summary
from include.training.best_model import BestModel
from include.training.job_requests import incremental_request, training_request
from include.training.run_jobs import RunJob
from tests.support.documents import dataset_version, deployment_inputs, settings

RUN = Run("image_classification", "manual__2026-01-02")
BASE = BestModel(
    job="base-job",
    objective="validation:accuracy",
    value=0.5,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={"num_layers": "20", "image_shape": "3,28,28", "num_classes": "3"},
)
LATENCY = Latency.of([10.0, 20.0, 30.0], seconds=0.03, concurrent=2)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="us-east-1")


def run_jobs(aws: Any) -> Leaderboard:
    given = {"algorithm": algorithm_of(RunConf(), settings()), "dataset": dataset_version(), "run": RUN}
    sagemaker, logs = aws("sagemaker"), aws("logs")
    sagemaker.create_training_job(**training_request("base-job", **given))
    sagemaker.create_training_job(**incremental_request("next-job", base=BASE, **given))
    logs.create_log_group(logGroupName=TRAINING_LOGS)
    for job, accuracy in (("base-job", 0.25), ("next-job", 0.75)):
        logs.create_log_stream(logGroupName=TRAINING_LOGS, logStreamName=f"{job}/algo-1")
        event = {"timestamp": int(time.time() * 1000), "message": f"Epoch[0] Validation-accuracy={accuracy}"}
        logs.put_log_events(logGroupName=TRAINING_LOGS, logStreamName=f"{job}/algo-1", logEvents=[event])
    jobs = [
        RunJob(describe_training_job(sagemaker, "base-job"), "base"),
        RunJob(describe_training_job(sagemaker, "next-job"), "incremental"),
    ]
    return read_leaderboard(logs, jobs, best=BASE, final="next-job", prices={})


def test_a_run_is_told_from_what_the_services_say(aws: Any) -> None:
    leaderboard = run_jobs(aws)
    prediction = Prediction(image="images/owl/1.jpg", expected="owl", label="owl", probability=0.9, correct=True)
    summary = summarise(
        aws("sagemaker"),
        dataset=dataset_version(),
        leaderboard=leaderboard,
        base_job="base-job",
        incremental_job="next-job",
        endpoint="pets",
        endpoint_evaluation=EndpointEvaluation(endpoint="pets", images=20, accuracy=0.95, latency=LATENCY),
        predictions=[prediction],
    )
    assert summary.dataset.model_dump() == {
        "name": "pets",
        "version": "20260102T030405Z-0a1b2c3d",
        "counts": {"train": 80, "validation": 20, "test": 20},
    }
    assert [(job.name, job.role, job.status) for job in summary.training_jobs] == [
        ("next-job", "incremental", "Completed"),
        ("base-job", "base", "Completed"),
    ]
    assert [job.accuracy for job in summary.training_jobs] == [0.75, 0.25]
    assert summary.training_jobs[0].hyperparameters["learning_rate"] == "0.01"
    assert summary.incremental is not None
    assert summary.incremental.model_dump() == {
        "job": "next-job",
        "base_job": "base-job",
        "first_epoch_validation_accuracy": 0.75,
        "base_first_epoch_validation_accuracy": 0.25,
    }
    assert (summary.best_job, summary.test_accuracy, summary.prediction) == ("base-job", 0.95, prediction)
    assert (summary.endpoint, summary.endpoint_status, summary.latency) == ("pets", "Deleted", LATENCY)
    assert summary.lines()[-2:] == ["Endpoint pets: Deleted.", f"Latency of the endpoint: {LATENCY}."]


@pytest.mark.parametrize(
    ("status", "shown"), [("InService", "InService"), ("Failed", "Failed"), ("Deleting", "Deleted")]
)
def test_an_endpoint_is_shown_as_deleted_while_aws_deletes_it(aws: Any, status: str, shown: str) -> None:
    class Answering:
        """SageMaker, of which only the endpoint is asked."""

        def describe_endpoint(self, EndpointName: str) -> dict[str, str]:
            return {"EndpointName": EndpointName, "EndpointStatus": status}

    sagemaker: Any = Answering()
    assert summarise(sagemaker, dataset=dataset_version(), endpoint="pets").endpoint_status == shown


def test_a_run_that_only_built_a_dataset_has_a_summary_too(aws: Any) -> None:
    summary = summarise(aws("sagemaker"), dataset=dataset_version())
    assert (summary.training_jobs, summary.incremental, summary.test_accuracy) == ((), None, None)


def test_a_refused_deployment_is_told_in_the_lines_of_the_summary(aws: Any) -> None:
    summary = summarise(aws("sagemaker"), dataset=dataset_version())
    registered = summary.model_copy(update={"model_package": "arn:1", "approval": "PendingManualApproval"})
    served = registered.model_copy(update={"endpoint": "pets", "endpoint_status": "InService", "approval": "Approved"})

    assert registered.lines()[-2:] == [
        "Registered as arn:1: PendingManualApproval.",
        "Not deployed: the model is PendingManualApproval.",
    ]
    assert served.lines()[-1] == "Endpoint pets: InService."
    assert not any("\n" in line for line in served.lines())


def test_the_summary_lies_beside_the_report(aws: Any) -> None:
    s3 = aws("s3")
    s3.create_bucket(Bucket="models-of-acme")
    summary = summarise(aws("sagemaker"), dataset=dataset_version())
    uri = write_summary(s3, summary, settings=settings(), run=RUN)
    assert uri == f"s3://models-of-acme/reports/{RUN.name}/summary.json"
    kept = s3.get_object(Bucket="models-of-acme", Key=f"reports/{RUN.name}/summary.json")["Body"].read()
    assert json.loads(kept) == summary.model_dump(mode="json")


def paired(challenger: float, champion: float, images: int = 400) -> Comparison:
    """A comparison of which the note shows both figures."""
    figures = PairedFigures(
        images=images,
        champion=champion,
        challenger=challenger,
        difference=challenger - champion,
        difference_interval=Interval(low=-0.01, high=0.01),
        pairs=Pairs(both_right=images, only_champion=0, only_challenger=0, both_wrong=0),
        test="exact McNemar",
        p_two_sided=1.0,
        p_worse=1.0,
        p_better=1.0,
    )
    return Comparison(champion="a", challenger="b", dataset="s3://x/", figure="accuracy", all_images=figures)


def noted(
    aws: Any, approval: str = "Approved", *, accepted: bool = True, champion: str | None = None, **documents: Any
) -> str:
    """The note of a run that measured 390 of 400 images rightly and registered version 5."""
    verdict = Verdict(accepted=accepted, reason="because", compare="not_worse", margin=0.01, minimum_accuracy=None)
    evaluation = Evaluation(
        job="next-job",
        images=400,
        accuracy=0.975,
        classes={},
        report_uri="s3://b/report.html",
        metrics_uri="s3://b/metrics.json",
        verdict=verdict,
        champion=champion,
    )
    model = {**deployment_inputs({}, approval)["model"], "version": 5, "dataset": "digits"}
    registered = RegisteredModel.model_validate(model)
    figures = summarise(
        aws("sagemaker"), dataset=dataset_version(), evaluation=evaluation, registered=registered, **documents
    )
    return figures.note


def test_the_note_says_what_was_reached_beside_whom_and_what_became_of_it(
    aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.summary._endpoint_status", lambda _, endpoint: "InService" if endpoint else None)
    beside = {"comparison": paired(0.975, 0.975), "rollout": "canary", "endpoint": "digits"}
    reached = "digits v5: 97.5% on 400 images (champion 97.5%, not worse)"
    assert noted(aws, **beside) == f"{reached}, canary done, serving at digits"
    assert noted(aws, **{**beside, "rollout": ""}) == f"{reached}, serving at digits"
    first = "digits v5: 97.5% of 400 images"
    assert noted(aws, endpoint="digits", rollout="linear") == f"{first}, linear done, serving at digits"
    assert noted(aws) == f"{first}, approved, not deployed"


def test_the_note_of_a_training_that_made_the_champion_no_better_says_that_it_stays(
    aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.summary._endpoint_status", lambda *_: "InService")
    itself = deployment_inputs({}, "Approved")["model"]["arn"]
    note = noted(aws, champion=itself, endpoint="digits")
    assert note == "digits v5: 97.5% of 400 images, stays the champion, serving at digits"


def test_the_note_of_a_refused_model_says_so(aws: Any) -> None:
    refused = noted(aws, "PendingManualApproval", accepted=False, comparison=paired(0.1, 0.96))
    assert refused == "digits v5: 10.0% on 400 images (champion 96.0%, refused), waits for a person's approval"
    alone = noted(aws, "PendingManualApproval", accepted=False)
    assert alone == "digits v5: 97.5% of 400 images (refused), waits for a person's approval"


def test_the_note_of_a_deployment_alone_names_version_and_endpoint(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.summary._endpoint_status", lambda *_: "InService")
    registered = RegisteredModel.model_validate({**deployment_inputs({}, "Approved")["model"], "dataset": "pets"})
    figures = summarise(aws("sagemaker"), dataset=dataset_version(), registered=registered, endpoint="pets-live")
    assert figures.note == f"pets v{registered.version}: serving at pets-live"
