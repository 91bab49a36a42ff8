"""What may take the place of what serves: classes of a run beside those of the champion, on the local AWS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from include.evaluation.metrics import Evaluation
from include.preflight import label_change_problems
from include.promotion.verdict import label_change, refusal
from include.run_conf import RunConf
from include.settings import Settings
from tests.support.documents import dataset_version
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.served_models import deployed, registered

TEN = [f"class-{number}" for number in range(10)]
FIVE = TEN[:5]


def conf_of(dataset: str, **conf: Any) -> RunConf:
    return RunConf.from_conf({"dataset.name": dataset, **conf})


def found(aws: RunningLocalAws, settings: Settings, labels: Sequence[str], conf: RunConf) -> str:
    change = label_change(aws.client("sagemaker"), aws.client("s3"), conf=conf, settings=settings, labels=labels)
    return f"{change.found} -> {change.renamed}" if change else ""


@pytest.fixture
def ten_classes(aws: RunningLocalAws, settings: Settings, pets: str) -> str:
    """A dataset whose endpoint serves ten classes."""
    deployed(aws, settings, registered(aws, settings, pets, labels=TEN))
    return pets


def test_other_classes_than_those_that_serve_are_counted_or_named(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    conf, serves = conf_of(ten_classes), f"the endpoint {ten_classes} serves"

    assert found(aws, settings, TEN, conf) == ""
    assert found(aws, settings, FIVE, conf) == f"{serves} 10 classes, this run has 5 -> the dataset"
    assert found(aws, settings, TEN[::-1], conf) == f"{serves} the same 10 classes in another order -> the dataset"
    assert found(aws, settings, [*TEN[:-1], "owl"], conf) == (
        f"{serves} 10 classes with class-9, this run has owl instead -> the dataset"
    )
    assert found(aws, settings, FIVE, conf_of(ten_classes, **{"promotion.allow_label_change": True})) == ""
    assert found(aws, settings, FIVE, conf_of(f"other-{ten_classes}")) == "", "another name replaces nothing"


def test_an_endpoint_of_another_dataset_is_not_replaced_by_other_classes(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    cars = f"cars-{ten_classes}"
    there = {"endpoint.name": ten_classes}

    assert found(aws, settings, FIVE, conf_of(cars, **there)) == (
        f"the endpoint {ten_classes} serves 10 classes, this run has 5 -> the endpoint"
    )
    assert found(aws, settings, FIVE, conf_of(cars, **there, **{"endpoint.deploy": False})) == ""
    assert found(aws, settings, TEN, conf_of(cars, **there)) == ""


def test_a_first_model_has_nothing_to_replace_and_the_next_one_its_classes(
    aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    assert found(aws, settings, FIVE, conf_of(pets)) == ""

    first = registered(aws, settings, pets, labels=TEN)

    assert found(aws, settings, FIVE, conf_of(pets)) == (
        f"{first.group} version 1 has 10 classes, this run has 5 -> the dataset"
    )


def test_what_a_person_put_behind_the_endpoint_is_not_replaced(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    sagemaker = aws.client("sagemaker")
    package = registered(aws, settings, ten_classes, labels=TEN)
    deployment = deployed(aws, settings, package)
    sagemaker.delete_model_package(ModelPackageName=package.arn)

    change = found(aws, settings, TEN, conf_of(ten_classes))

    assert change.startswith(f"Endpoint {ten_classes} serves model {deployment.model['ModelName']}")
    assert change.endswith("or delete the endpoint -> the dataset")


def test_a_run_that_deploys_is_refused_and_one_that_does_not_is_told(
    aws: RunningLocalAws, settings: Settings, ten_classes: str, caplog: pytest.LogCaptureFixture
) -> None:
    def problems(conf: RunConf) -> list[str]:
        version = dataset_version(name=ten_classes, labels=FIVE)
        clients = {"s3": aws.client("s3"), "sagemaker": aws.client("sagemaker")}
        return [str(problem) for problem in label_change_problems(conf, settings, dataset=version, **clients)]

    assert problems(conf_of(ten_classes)) == [
        f"dataset.labels = 5 classes: the endpoint {ten_classes} serves 10 classes, this run has 5: give the dataset "
        "another name, or set promotion.allow_label_change"
    ]
    with caplog.at_level("INFO"):
        assert problems(conf_of(ten_classes, **{"endpoint.deploy": False})) == []
    assert "this run has 5: the model will be registered and wait for approval" in caplog.text


def test_a_model_is_approved_that_reaches_the_minimum_and_has_the_champions_classes(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    def why_not(accuracy: float, labels: list[str]) -> str:
        return refusal(
            aws.client("sagemaker"),
            aws.client("s3"),
            conf=conf_of(ten_classes, **{"promotion.minimum_accuracy": 0.8}),
            settings=settings,
            dataset=dataset_version(name=ten_classes, labels=labels),
            evaluation=Evaluation(
                job="job", images=20, accuracy=accuracy, classes={}, report_uri=f"s3://{BUCKET}/r", metrics_uri=""
            ),
        )

    assert why_not(0.8, TEN) == ""
    assert why_not(0.79, TEN) == "accuracy 0.7900 is below promotion.minimum_accuracy 0.8000"
    assert why_not(0.99, FIVE) == (
        f"the endpoint {ten_classes} serves 10 classes, this run has 5, and promotion.allow_label_change is off"
    )
