"""Endpoints that no local AWS makes: what is behind them is named."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from include.deployment.registry import RegisteredModel
from include.promotion.champion import UnknownChampionError, keep_run_conf, kept_run_conf, live_endpoint
from include.run_conf import RunConf, RunConfError
from include.sagemaker.naming import Run
from tests.support.documents import deployment_inputs, settings

RUN = Run("image_classification", "manual__1")
MODEL = RegisteredModel.model_validate(deployment_inputs({})["model"])


def sagemaker(variants: list[dict[str, Any]] | None) -> Any:
    """A client that knows the endpoint `pets` alone; without variants its configuration was deleted."""

    def describe_endpoint_config(**_: Any) -> dict[str, Any]:
        if variants is None:
            error = {"Code": "ValidationException", "Message": "Could not find endpoint configuration config-1."}
            raise ClientError({"Error": error}, "DescribeEndpointConfig")
        return {"ProductionVariants": variants}

    endpoint = {"EndpointStatus": "InService", "EndpointConfigName": "config-1"}
    return SimpleNamespace(describe_endpoint=lambda **_: endpoint, describe_endpoint_config=describe_endpoint_config)


@pytest.mark.parametrize(
    ("variants", "found"),
    [
        (None, "a configuration that was deleted"),
        ([{"VariantName": "AllTraffic", "InstanceType": "ml.g5.xlarge"}], "no model of its own"),
    ],
)
def test_an_endpoint_without_one_model_is_named(variants: list[dict[str, Any]] | None, found: str) -> None:
    with pytest.raises(UnknownChampionError) as unknown:
        live_endpoint(sagemaker(variants), "pets", settings=settings(), dataset="pets")

    assert unknown.value.endpoint == "pets"
    assert str(unknown.value) == (
        f"Endpoint pets serves {found}, configuration config-1: deploy a registered version of pets with "
        "deploy_endpoint, or delete the endpoint."
    )


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("s3", "us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
        made.create_bucket(Bucket="models-of-acme")
        yield made


def test_a_run_conf_is_kept_whole_beside_the_report_of_its_run(s3: Any) -> None:
    conf = RunConf.from_conf(
        {
            "dataset.name": "pets",
            "dataset.labels": ["cat", "dog"],
            "training.mode": "both",
            "training.trials": [{"name": "deep", "hyperparameters": {"num_layers": 34}}],
            "tuning.ranges": {"learning_rate": {"min": 0.001, "max": 0.1}},
            "resources.max_cost": 12.5,
            "endpoint.instance_type": "ml.c5.xlarge",
        }
    )

    uri = keep_run_conf(s3, conf, settings=settings(), run=RUN)

    assert uri == f"s3://models-of-acme/reports/{RUN.name}/run_conf.json"
    assert kept_run_conf(s3, MODEL.model_copy(update={"run_conf": uri})) == conf


@pytest.mark.parametrize("address", [None, "s3://models-of-acme/reports/gone/run_conf.json"])
def test_a_model_may_have_no_run_conf(s3: Any, address: str | None) -> None:
    assert kept_run_conf(s3, MODEL.model_copy(update={"run_conf": address})) is None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('{"endpoint": {"machine": "ml.c5.large"}}', r"endpoint.machine = ml.c5.large: no such field.* \(in s3://"),
        ("half a fi", r"run_conf.json = nothing: is not JSON"),
        ("[]", r"run_conf.json = \[\]: is not a JSON object"),
    ],
)
def test_a_run_conf_that_cannot_be_read_is_named(s3: Any, text: str, remedy: str) -> None:
    s3.put_object(Bucket="models-of-acme", Key="reports/run/run_conf.json", Body=text.encode())
    model = MODEL.model_copy(update={"run_conf": "s3://models-of-acme/reports/run/run_conf.json"})

    with pytest.raises(RunConfError, match=remedy):
        kept_run_conf(s3, model)
