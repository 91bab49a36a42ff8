from __future__ import annotations

from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.deployment.registry import (
    RegisteredModel,
    base_of,
    decided,
    last_approved,
    read_model,
    register_model,
)
from include.evaluation.metrics import Evaluation
from include.run_conf import RunConf
from include.sagemaker.epochs import EpochMetrics
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from include.training.best_model import label_set_fingerprint
from tests.support.documents import dataset_version, described_training_job, settings

RUN = Run("image_classification", "manual__2026-01-02T03:04:05+00:00")


def result(name: str = "the-job") -> JobResult:
    return JobResult.of_training_job(described_training_job(name))


def evaluation(accuracy: float) -> Evaluation:
    return Evaluation(
        job="the-job",
        images=20,
        accuracy=accuracy,
        classes={},
        report_uri="s3://models-of-acme/reports/run/report.html",
        metrics_uri="s3://models-of-acme/reports/run/metrics.json",
    )


def register(sagemaker: Any, name: str = "the-job", *, refusal: str = "") -> RegisteredModel:
    return register_model(
        sagemaker,
        job=result(name),
        evaluation=evaluation(0.9),
        dataset=dataset_version(),
        algorithm=algorithm_of(RunConf(), settings()),
        run=RUN,
        refusal=refusal,
        base_job="base-job",
        run_conf="s3://models-of-acme/reports/run/run_conf.json",
    )


def test_a_registered_model_tells_where_it_came_from(sagemaker: Any) -> None:
    model = register(sagemaker)
    assert model == read_model(sagemaker, model.arn)
    assert model.model_dump(exclude={"arn"}) == {
        "group": "image-classification-pets",
        "version": 1,
        "approval": "Approved",
        "artifact": "s3://models-of-acme/jobs/the-job/output/model.tar.gz",
        "image": "813361260812.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1",
        "environment": {},
        "content_types": ("image/jpeg", "image/png", "application/x-image"),
        "algorithm": "builtin",
        "source": None,
        "job": "the-job",
        "base_job": "base-job",
        "dataset": "pets",
        "dataset_version": "20260102T030405Z-0a1b2c3d",
        "dataset_uri": "s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/",
        "label_set": label_set_fingerprint(["cat", "dog", "owl"]),
        "classes": 3,
        "packing": (
            "resize=0 center_crop=False quality=95 color=1 encoding=.jpg pass_through=False fast_decode=False "
            "minimum_side=0"
        ),
        "accuracy": 0.9,
        "report": "s3://models-of-acme/reports/run/report.html",
        "run_conf": "s3://models-of-acme/reports/run/run_conf.json",
        "verdict": "accepted",
        "champion": None,
        "reason": None,
    }


def test_a_refused_model_waits_for_a_person_and_keeps_the_reason(sagemaker: Any) -> None:
    model = register(sagemaker, refusal="the endpoint pets serves 10 classes, this run has 5")

    assert (model.approval, model.approved) == ("PendingManualApproval", False)
    assert model.reason == "the endpoint pets serves 10 classes, this run has 5"
    package = sagemaker.describe_model_package(ModelPackageName=model.arn)
    assert package["ModelPackageDescription"] == (
        "pets 20260102T030405Z-0a1b2c3d, accuracy 0.9000. Waits for approval: the endpoint pets serves 10 classes, "
        "this run has 5"
    )


def test_reasons_of_several_lines_are_kept_as_one_line_that_the_registry_takes(sagemaker: Any) -> None:
    """The patterns of ApprovalDescription and ModelPackageDescription allow no line break, and both 1,024 letters."""
    model = register(sagemaker, refusal="Two reasons:\n- worse\r\n- other classes")
    assert model.reason == "Two reasons: - worse - other classes"
    package = sagemaker.describe_model_package(ModelPackageName=model.arn)
    assert package["ModelPackageDescription"].endswith("Waits for approval: Two reasons: - worse - other classes")

    rejected = decided(sagemaker, model, "Rejected", "Rejected by Ada: wrong\n\n  labels.\t" + "x" * 2000)

    kept = sagemaker.describe_model_package(ModelPackageName=model.arn)["ApprovalDescription"]
    assert rejected.reason == kept
    assert (rejected.reason or "")[:36] == "Rejected by Ada: wrong labels. xxxxx"
    assert len(rejected.reason or "") == 1024


def test_a_retried_registration_makes_no_second_version(sagemaker: Any) -> None:
    assert register(sagemaker) == register(sagemaker)
    packages = sagemaker.list_model_packages(ModelPackageGroupName="image-classification-pets")
    assert len(packages["ModelPackageSummaryList"]) == 1


def test_a_job_of_another_installation_that_is_called_alike_has_a_version_of_its_own(sagemaker: Any) -> None:
    mine = register(sagemaker)
    theirs = result().model_copy(update={"artifact": "s3://models-of-others/jobs/the-job/output/model.tar.gz"})

    other = register_model(
        sagemaker,
        job=theirs,
        evaluation=evaluation(0.9),
        dataset=dataset_version(),
        algorithm=algorithm_of(RunConf(), settings()),
        run=RUN,
    )

    assert (mine.version, other.version, other.artifact) == (1, 2, theirs.artifact)


def test_the_last_approved_model_is_the_newest_that_may_be_deployed(sagemaker: Any) -> None:
    register(sagemaker, "first")
    second = register(sagemaker, "second")
    register(sagemaker, "too-weak", refusal="accuracy 0.1000 is below promotion.minimum_accuracy")
    assert last_approved(sagemaker, settings=settings(), dataset="pets") == second


def test_a_dataset_without_a_model_has_no_last_approved_one(sagemaker: Any) -> None:
    assert last_approved(sagemaker, settings=settings(), dataset="cars") is None


def test_a_job_without_an_artifact_is_not_registered(sagemaker: Any) -> None:
    empty = result().model_copy(update={"artifact": None})
    with pytest.raises(ValueError, match="the-job left no artifact"):
        register_model(
            sagemaker,
            job=empty,
            evaluation=evaluation(0.9),
            dataset=dataset_version(),
            algorithm=algorithm_of(RunConf(), settings()),
            run=RUN,
        )


def test_a_registered_model_is_a_base_with_its_jobs_hyperparameters_and_validation_accuracy(
    sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: Any = object()
    epochs = [EpochMetrics(epoch=at, metrics={"validation:accuracy": value}) for at, value in enumerate((0.75, 0.5))]
    monkeypatch.setattr("include.deployment.registry.epochs_of_attempt", lambda *_: epochs)
    described = described_training_job("the-job", FinalMetricDataList=[], HyperParameters={"num_classes": "3"})
    monkeypatch.setattr(
        "include.deployment.registry.describe_training_job", lambda *_: JobResult.of_training_job(described)
    )
    model = register(sagemaker)
    base = base_of(sagemaker, logs, model)
    assert (base.job, base.artifact) == ("the-job", model.artifact)
    assert base.hyperparameters["num_classes"] == "3"
    assert base.label_set == label_set_fingerprint(["cat", "dog", "owl"])
    assert base.value == 0.75
