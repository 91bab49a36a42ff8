"""Which endpoints are measured, beside which figures, on the local AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.deployment.registry import RegisteredModel
from include.evaluation.held_out_answers import kept_at
from include.promotion.endpoint_checks import EndpointCheck, NoEndpointError, endpoint_checks, registered_figure
from include.run_conf import RunConf
from include.settings import Settings
from tests.integration.promotion.test_champion import changed_by_hand, made_by_hand
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.served_models import IMAGE, deployed, published, put_model, registered


def checks(aws: RunningLocalAws, settings: Settings, **conf: Any) -> list[EndpointCheck]:
    asked, problems = RunConf.read_changes(conf)
    assert problems == []
    return endpoint_checks(aws.client("sagemaker"), aws.client("s3"), conf=asked, settings=settings)


@pytest.fixture
def served(aws: RunningLocalAws, settings: Settings, pets: str) -> RegisteredModel:
    """A version that an endpoint of another name than the dataset's serves."""
    version = registered(aws, settings, pets, accuracy=0.9)
    deployed(aws, settings, version, **{"endpoint.name": f"{pets}-live"})
    return version


def test_an_endpoint_is_found_by_its_dataset_by_its_own_name_and_among_all(
    aws: RunningLocalAws, settings: Settings, pets: str, served: RegisteredModel
) -> None:
    without_endpoint = registered(aws, settings, f"{pets}-unserved")
    by_dataset = checks(aws, settings, **{"dataset.name": pets})
    assert [(check.endpoint, check.dataset, check.remark) for check in by_dataset] == [(f"{pets}-live", pets, "")]
    assert by_dataset[0].registered is not None
    assert by_dataset[0].registered.model == f"image-classification-{pets} version {served.version}"
    assert checks(aws, settings, **{"endpoint.name": f"{pets}-live"}) == by_dataset
    everything = checks(aws, settings)
    assert by_dataset[0] in everything
    assert without_endpoint.dataset not in {check.dataset for check in everything}


def test_the_version_is_the_newest_with_the_classes_of_the_served_model_or_the_named_one(
    aws: RunningLocalAws, settings: Settings, pets: str, served: RegisteredModel
) -> None:
    newer = published(aws, pets, version="20270102T030405Z-0a1b2c3d")
    other = published(aws, pets, version="20280102T030405Z-0a1b2c3d", labels=["ant", "bee"])
    (check,) = checks(aws, settings, **{"dataset.name": pets})
    assert check.version == newer
    (named,) = checks(aws, settings, **{"dataset.name": pets, "dataset.version": other.version})
    assert named.version == other


def test_images_and_interval_of_the_registered_figure_come_from_its_report(
    aws: RunningLocalAws, served: RegisteredModel, pets: str
) -> None:
    s3, key = aws.client("s3"), f"reports/{pets}/metrics.json"
    here = served.model_copy(update={"report": f"s3://{BUCKET}/reports/{pets}/report.html"})
    assert (registered_figure(s3, here).images, registered_figure(s3, here).interval) == (None, None)
    s3.put_object(Bucket=BUCKET, Key=key, Body=b'{"images": 20, "accuracy": 0.9}')
    assert registered_figure(s3, here).interval is None, "a report of an earlier release"
    known = {"images": 20, "intervals": {"accuracy": {"low": 0.7, "high": 0.97}}}
    s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(known).encode())
    found = registered_figure(s3, here)
    assert found.interval is not None
    assert (found.accuracy, found.images, found.interval.low) == (0.9, 20, 0.7)


def test_the_answers_of_the_served_version_to_the_same_images_are_found_if_they_are_kept(
    aws: RunningLocalAws, settings: Settings, pets: str, served: RegisteredModel
) -> None:
    def answers(**conf: Any) -> str | None:
        (check,) = checks(aws, settings, **{"dataset.name": pets, **conf})
        assert check.registered is not None
        return check.registered.answers

    (check,) = checks(aws, settings, **{"dataset.name": pets})
    kept = kept_at(settings, check.version, job=served.job, artifact=served.artifact)
    assert answers() is None
    aws.client("s3").put_object(Bucket=BUCKET, Key=kept.removeprefix(f"s3://{BUCKET}/"), Body=b"")
    assert answers() == kept
    assert answers(**{"evaluation.images": "source"}) is None, "it has answered the packed images"


def test_an_endpoint_that_serves_no_registered_version_is_measured_and_compared_with_nothing(
    aws: RunningLocalAws, settings: Settings, pets: str, served: RegisteredModel
) -> None:
    changed_by_hand(aws, f"{pets}-live", made_by_hand(aws, Image=IMAGE, ModelDataUrl=put_model(aws)))
    (check,) = checks(aws, settings, **{"dataset.name": pets})
    assert (check.endpoint, check.registered) == (f"{pets}-live", None)
    assert "is not a registered version" in check.remark
    with pytest.raises(NoEndpointError, match=r"Or name in dataset\.name the dataset to measure it on"):
        checks(aws, settings, **{"endpoint.name": f"{pets}-live"})


def test_an_endpoint_that_was_named_and_does_not_serve_is_an_error(
    aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    with pytest.raises(NoEndpointError, match=rf"dataset\.name = {pets}: no endpoint of this name serves\. Deploy"):
        checks(aws, settings, **{"dataset.name": pets})
    with pytest.raises(NoEndpointError, match=rf"endpoint\.name = {pets}-x: no endpoint of this name serves"):
        checks(aws, settings, **{"dataset.name": pets, "endpoint.name": f"{pets}-x"})
