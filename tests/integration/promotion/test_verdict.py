"""What may take the place of what serves: classes of a run beside those of the champion, on the local AWS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from include.datasets.version import DatasetVersion
from include.evaluation.metrics import Evaluation, Verdict
from include.preflight.checking import label_change_problems
from include.promotion.champion import champion_beside, champion_of
from include.promotion.verdict import changed_champion, label_change, refusal
from include.run_conf import RunConf
from include.settings import Settings
from tests.support.documents import dataset_version
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.served_models import deployed, published, registered

TEN = [f"class-{number}" for number in range(10)]
FIVE = TEN[:5]


def conf_of(dataset: str, **conf: Any) -> RunConf:
    return RunConf.from_conf({"dataset.name": dataset, **conf})


def found(aws: RunningLocalAws, settings: Settings, labels: Sequence[str], conf: RunConf) -> str:
    change = label_change(
        aws.client("sagemaker"),
        aws.client("s3"),
        conf=conf,
        settings=settings,
        labels=labels,
        multi_label=conf.dataset.multi_label,
    )
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


def test_a_model_that_names_several_classes_does_not_replace_one_that_names_one(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    several, serves = conf_of(ten_classes, **{"dataset.multi_label": True}), f"the endpoint {ten_classes} serves"
    one_class = f"{serves} one class for each image, this run has several"

    assert found(aws, settings, TEN, several) == f"{one_class} -> the dataset"
    assert why_not(aws, settings, ten_classes, TEN, multi_label=True) == (
        f"{one_class}, and promotion.allow_label_change is off"
    )
    version = dataset_version(name=ten_classes, labels=TEN, multi_label=True)
    (problem,) = label_change_problems(
        several, settings, dataset=version, s3=aws.client("s3"), sagemaker=aws.client("sagemaker")
    )
    assert str(problem).startswith(f"dataset.multi_label = True: {one_class}: give the dataset another name")

    deployed(aws, settings, registered(aws, settings, ten_classes, labels=TEN, multi_label=True))
    assert found(aws, settings, TEN, several) == ""
    assert found(aws, settings, TEN, conf_of(ten_classes)) == (
        f"{serves} several classes for each image, this run has one -> the dataset"
    )


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


def why_not(aws: RunningLocalAws, settings: Settings, dataset: str, labels: Sequence[str], **evaluated: Any) -> str:
    """Why a model of these classes is not approved by itself; what was found of it is in `evaluated`."""
    conf = evaluated.pop("conf", {})
    accepted, multi_label = evaluated.pop("accepted", True), evaluated.pop("multi_label", False)
    verdict = Verdict(accepted=accepted, reason="The verdict.", compare="not_worse", margin=0.01, minimum_accuracy=None)
    found = {"job": "job", "images": 20, "accuracy": 0.9, "classes": {}, "metrics_uri": "", "verdict": verdict}
    return refusal(
        aws.client("sagemaker"),
        aws.client("s3"),
        conf=conf_of(dataset, **conf),
        settings=settings,
        dataset=dataset_version(name=dataset, labels=list(labels), multi_label=multi_label),
        evaluation=Evaluation.model_validate({**found, "report_uri": f"s3://{BUCKET}/r", **evaluated}),
    )


def test_a_model_is_approved_by_its_verdict_if_it_has_the_champions_classes(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    champion = champion_of(aws.client("sagemaker"), settings=settings, dataset=ten_classes)
    assert champion is not None
    beside = {"champion": champion.version.arn}

    assert why_not(aws, settings, ten_classes, TEN, **beside) == ""
    assert why_not(aws, settings, ten_classes, TEN, accepted=False, **beside) == "The verdict."
    assert why_not(aws, settings, ten_classes, FIVE, **beside) == (
        f"the endpoint {ten_classes} serves 10 classes, this run has 5, and promotion.allow_label_change is off"
    )
    assert why_not(aws, settings, ten_classes, FIVE, accepted=False, **beside).endswith("_change is off; The verdict.")
    assert "earlier release" in why_not(aws, settings, ten_classes, TEN, verdict=None, **beside)


def test_a_model_that_was_compared_with_an_earlier_champion_is_not_approved(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    champion = champion_of(aws.client("sagemaker"), settings=settings, dataset=ten_classes)
    assert champion is not None
    deployed(aws, settings, registered(aws, settings, ten_classes, labels=TEN))

    assert why_not(aws, settings, ten_classes, TEN, champion=champion.version.arn) == (
        "it was compared with version 1, and version 2 is the champion by now: run again"
    )
    assert why_not(aws, settings, ten_classes, TEN) == (
        "it was compared with none, and version 2 is the champion by now: run again"
    )
    assert why_not(aws, settings, ten_classes, TEN, conf={"promotion.compare": "off"}) == ""


def test_a_model_that_a_person_put_behind_the_endpoint_since_is_not_replaced(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    sagemaker = aws.client("sagemaker")
    package = registered(aws, settings, ten_classes, labels=TEN)
    deployment = deployed(aws, settings, package)
    sagemaker.delete_model_package(ModelPackageName=package.arn)

    def changed(**conf: Any) -> str:
        asked = conf_of(ten_classes, **conf)
        return changed_champion(
            sagemaker, conf=asked, settings=settings, dataset=ten_classes, compared="the one before"
        )

    assert changed().startswith(f"Endpoint {ten_classes} serves model {deployment.model['ModelName']}")
    assert changed(**{"promotion.compare": "off"}) == ""
    assert changed(**{"promotion.allow_label_change": True}) == ""


def test_the_champion_of_other_classes_is_not_compared(
    aws: RunningLocalAws, settings: Settings, ten_classes: str
) -> None:
    def unlike(**version: Any) -> str | None:
        found = champion_beside(
            aws.client("sagemaker"),
            aws.client("s3"),
            settings=settings,
            dataset=dataset_version(name=ten_classes, **version),
            artifact=version.pop("artifact", "s3://bucket/model.tar.gz"),
        )
        return found.unlike if found else None

    assert unlike(labels=TEN) == ""
    assert unlike(labels=FIVE) == "the champion has other classes"
    assert unlike(labels=TEN, multi_label=True) == "the champion names one class for each image"
    assert (
        champion_beside(
            aws.client("sagemaker"),
            aws.client("s3"),
            settings=settings,
            dataset=dataset_version(name=f"new-{ten_classes}"),
            artifact="",
        )
        is None
    )


def test_new_to_the_champion_are_the_images_that_came_after_its_version(
    aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    sagemaker, s3 = aws.client("sagemaker"), aws.client("s3")

    def version(day: int, parent: DatasetVersion | None, records: int) -> DatasetVersion:
        named = f"2026010{day}T030405Z-0a1b2c3d"
        return published(aws, pets, version=named, parent=parent.uri if parent else None, next_record_id=records)

    first = version(1, None, 120)
    second = version(2, first, 150)
    third = version(3, second, 170)
    stranger = version(4, None, 200)
    model = registered(aws, settings, pets, version=first.version, next_record_id=120)

    def new_from(dataset: DatasetVersion) -> int | None:
        found = champion_beside(sagemaker, s3, settings=settings, dataset=dataset, artifact="")
        assert found is not None
        assert found.version == model
        return found.first_new_record

    assert (new_from(third), new_from(second), new_from(first)) == (120, 120, 120)
    assert new_from(stranger) is None, "it did not grow from the champion's"
    own = champion_beside(sagemaker, s3, settings=settings, dataset=first, artifact=model.artifact)
    assert own is not None
    assert own.unlike == "it is the champion itself"
