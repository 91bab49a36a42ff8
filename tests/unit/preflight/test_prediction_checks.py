"""What is refused before images are predicted: all of it at once, and nothing is started."""

from __future__ import annotations

from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.deployment.registry import register_model
from include.evaluation.batch_prediction import PredictingModel
from include.evaluation.metrics import Evaluation
from include.preflight import PreflightError
from include.preflight.checking import check_prediction
from include.problems import Problem
from include.run_conf import RunConf
from include.run_conf.endpoint import PredictionConf
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from tests.support.documents import BEST_MODEL, dataset_version, described_training_job, settings
from tests.unit.preflight.services import client, clients, prices, quotas

SOURCE = "s3://images-of-acme/new/"
ARTIFACT = BEST_MODEL["artifact"].partition("/jobs/")[2]


@pytest.fixture
def account(s3: Any) -> Any:
    """SageMaker with an approved and a pending model of `pets`, whose artifact and images are in S3."""
    sagemaker = client("sagemaker")
    version = dataset_version()
    for job in ("base-job", "weak-job"):
        model = register_model(
            sagemaker,
            job=JobResult.of_training_job(described_training_job(job)),
            evaluation=Evaluation(
                job=job, images=20, accuracy=0.9, classes={}, report_uri="s3://a/b", metrics_uri="s3://a/c"
            ),
            dataset=version,
            algorithm=algorithm_of(RunConf(), settings()),
            run=Run("image_classification", "run"),
        )
    kept = sagemaker.describe_model_package(ModelPackageName=model.arn)["CustomerMetadataProperties"]
    sagemaker.update_model_package(
        ModelPackageArn=model.arn, ModelApprovalStatus="PendingManualApproval", CustomerMetadataProperties=kept
    )
    s3.put_object(Bucket="images-of-acme", Key=version.layout.document, Body=version.model_dump_json().encode())
    s3.put_object(Bucket="models-of-acme", Key=f"jobs/{ARTIFACT}", Body=b"model")
    s3.put_object(Bucket="images-of-acme", Key="new/a.jpg", Body=b"image")
    return sagemaker


def check(
    sagemaker: Any,
    s3: Any,
    asked: dict[str, Any],
    conf: dict[str, Any] | None = None,
    known: tuple[Problem, ...] = (),
    **services: Any,
) -> PredictingModel:
    return check_prediction(
        RunConf.from_conf({"dataset.name": "pets", **(conf or {})}),
        PredictionConf(**{"source": SOURCE, **asked}),
        settings(),
        clients=clients(s3=s3, sagemaker=sagemaker, **services),
        known=known,
    )


def refusal(*arguments: Any, **services: Any) -> list[str]:
    with pytest.raises(PreflightError) as refused:
        check(*arguments, **services)
    return [str(problem) for problem in refused.value.problems]


def test_the_champion_of_the_dataset_predicts_with_the_version_it_learned_from(account: Any, s3: Any) -> None:
    model = check(account, s3, {})

    assert model.name == "image-classification-pets version 1"
    assert (model.container.artifact, model.dataset) == (BEST_MODEL["artifact"], dataset_version())


def test_a_version_may_be_named_that_nobody_approved_yet(account: Any, s3: Any) -> None:
    s3.put_object(Bucket="models-of-acme", Key="jobs/weak-job/output/model.tar.gz", Body=b"model")

    assert check(account, s3, {"model_version": 2}).name == "image-classification-pets version 2"


@pytest.mark.parametrize(
    ("asked", "conf", "problem"),
    [
        ({"source": ""}, {}, "source = nothing: name the prefix of the images to predict"),
        ({"source": "s3://images-of-acme/none/"}, {}, "source = s3://images-of-acme/none/: there is no image under"),
        ({"source": "s3://nobodys-photos/"}, {}, "source = s3://nobodys-photos/: there is no bucket nobodys-photos"),
        ({"output": "s3://nobodys-photos/"}, {}, "output = s3://nobodys-photos/: there is no bucket nobodys-photos"),
        ({"model_version": 3}, {}, "dataset.name = pets: image-classification-pets has no version 3"),
        ({"model_version": 2}, {}, "the artifact of image-classification-pets version 2 is no longer there"),
        ({}, {"dataset.name": "cars"}, "dataset.name = cars: it has no approved model"),
        ({"model_of_endpoint": "gone"}, {}, "model_of_endpoint = gone: There is no endpoint gone"),
        (
            {"model_of_endpoint": "a", "model_version": 1},
            {},
            "model_version = 1: model_of_endpoint = a also names a model",
        ),
        ({}, {"endpoint.instance_type": "ml.t2.medium"}, "endpoint.instance_type = ml.t2.medium: SageMaker offers no"),
    ],
)
def test_what_cannot_work_is_refused_by_field_and_value(
    account: Any, s3: Any, asked: dict[str, Any], conf: dict[str, Any], problem: str
) -> None:
    (found,) = refusal(account, s3, asked, conf)

    assert problem in found


def test_all_problems_come_in_one_message(account: Any, s3: Any) -> None:
    known = (Problem(field="top_k", value=0, remedy="must be a whole number from 1 to 1000"),)

    found = refusal(account, s3, {"source": "", "model_version": 3}, {"endpoint.instance_type": "ml.no.such"}, known)

    assert sorted(line.partition(" = ")[0] for line in found) == [
        "dataset.name",
        "endpoint.instance_type",
        "source",
        "top_k",
    ]


def test_quota_and_cost_are_those_of_one_transform_job(account: Any, s3: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = refusal(
        account,
        s3,
        {},
        {"resources.max_cost": 0.1},
        service_quotas=quotas(("ml.m5.large for transform job usage", 0)),
        pricing=prices([{"Batch Transform": 0.5}]),
    )

    assert [line.partition(" = ")[0] for line in found] == ["endpoint.instance_type", "resources.max_cost"]
    assert "'ml.m5.large for transform job usage' in eu-central-1 is 0 and the run needs 1" in found[0]
    assert "the run could cost 3.00 USD" in found[1]
    assert "batch transform" in caplog.text


def test_without_readable_settings_only_what_is_known_is_said() -> None:
    known = (Problem(field="settings.region", remedy="add it"),)

    with pytest.raises(PreflightError) as refused:
        check_prediction(RunConf(), PredictionConf(), settings().without({"region"}), clients=None, known=known)

    assert [problem.field for problem in refused.value.problems] == ["settings.region"]
