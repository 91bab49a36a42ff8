from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.sagemaker.models import sagemaker_backends

from include.deployment.endpoint import (
    Deployment,
    DeploymentError,
    EndpointBusyError,
    SupersededError,
    configs_before,
    deploy,
    deployment_of,
    describe_endpoint,
    served,
)
from include.deployment.hosting import Hosting, tear_down
from include.deployment.registry import RegisteredModel
from include.preflight.conf_checks import violations
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from tests.support.documents import dataset_version, settings


def registered(job: str = "first") -> RegisteredModel:
    return RegisteredModel(
        arn=f"arn:aws:sagemaker:eu-central-1:123456789012:model-package/pets/{job}",
        group="image-classification-pets",
        version=1,
        approval="Approved",
        artifact=f"s3://models-of-acme/jobs/{job}/output/model.tar.gz",
        image="image-classification:1",
        job=job,
        dataset="pets",
        dataset_version="v1",
        dataset_uri="s3://images-of-acme/datasets/pets/v1/",
        accuracy=0.9,
    )


def deployment(
    job: str = "first",
    *,
    run: str = "run-1",
    given: Mapping[str, Any] | None = None,
    version: Mapping[str, Any] | None = None,
    **conf: Any,
) -> Deployment:
    """What the conf asks for; `given` are settings of the installation that differ, `version` what the version does."""
    return deployment_of(
        registered(job).model_copy(update=dict(version or {})),
        conf=RunConf.from_conf({"dataset.name": "pets", **conf}),
        settings=settings(**(given or {})),
        run=Run("image_classification", run),
        dataset=dataset_version(),
    )


def hosting(client: Any) -> Hosting:
    """A SageMaker client beside a CloudWatch that has no alarm and takes none."""
    return Hosting(client, NoAlarms(), NoScaling())


class NoAlarms:
    def describe_alarms(self, **_: Any) -> Any:
        return {"MetricAlarms": []}


class NoScaling:
    def describe_scalable_targets(self, **_: Any) -> Any:
        return {"ScalableTargets": []}


class FailingEndpoint:
    """A SageMaker client that tells another state of the endpoint than the one behind it."""

    def __init__(self, client: Any, **state: Any) -> None:
        self.client, self.state, self.deleted = client, state, False

    def describe_endpoint(self, **name: Any) -> Any:
        return {**self.client.describe_endpoint(**name), **({} if self.deleted else self.state)}

    def delete_endpoint(self, **name: Any) -> Any:
        self.deleted = True
        return self.client.delete_endpoint(**name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def test_a_first_deployment_creates_model_config_and_endpoint(sagemaker: Any) -> None:
    first = deployment()
    assert deploy(hosting(sagemaker), first) == "created"
    endpoint = served(sagemaker, first)
    assert (endpoint.name, endpoint.status, endpoint.config) == ("pets", "InService", first.config_name)
    (variant,) = endpoint.variants
    assert (variant.name, variant.model, variant.instance_type) == ("champion", first.model["ModelName"], "ml.m5.large")


def test_what_is_served_already_is_left_alone(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    assert deploy(hosting(sagemaker), deployment(run="run-2")) == "unchanged"
    assert len(sagemaker.list_endpoint_configs()["EndpointConfigs"]) == len(sagemaker.list_models()["Models"]) == 1


def test_names_follow_from_what_is_served() -> None:
    assert deployment().config_name == deployment(run="run-2").config_name
    assert deployment("second").config_name != deployment().config_name
    assert deployment(**{"endpoint.instance_count": 2}).config_name != deployment().config_name
    assert deployment(**{"endpoint.name": "live"}).endpoint_name == "live"


NETWORK = {"subnets": ["subnet-a", "subnet-b"], "security_group_ids": ["sg-1"]}
OTHERWISE: dict[str, dict[str, Any]] = {
    "network isolation": {"network_isolation": True},
    "a network": NETWORK,
    "other subnets": {**NETWORK, "subnets": ["subnet-a", "subnet-c"]},
    "another security group": {**NETWORK, "security_group_ids": ["sg-2"]},
    "one more security group": {**NETWORK, "security_group_ids": ["sg-1", "sg-2"]},
    "a key": {"kms_key_id": "alias/models"},
    "another key": {"kms_key_id": "alias/others"},
    "another role": {"execution_role_arn": "arn:aws:iam::123456789012:role/other"},
    "nothing": {},
}


def test_what_serves_otherwise_is_called_otherwise() -> None:
    deployments = {change: deployment(given=given) for change, given in OTHERWISE.items()}
    for (before, old), (after, new) in itertools.combinations(deployments.items(), 2):
        assert old.config_name != new.config_name, (before, after)
        same = content(old.model) == content(new.model)
        assert (old.model["ModelName"] == new.model["ModelName"]) is same, (before, after)


def test_a_version_is_served_with_the_container_that_it_was_registered_with() -> None:
    script = {"image": "pytorch-inference:2.6", "environment": {"SAGEMAKER_PROGRAM": "inference.py"}}
    images = {"image_uri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mine:2"}
    bodies = [deployment(version=version).model for version in ({}, {"image": "mine:2"}, script)]

    assert deployment(version=script, given=images).model["PrimaryContainer"] == {
        "Image": "pytorch-inference:2.6",
        "ModelDataUrl": "s3://models-of-acme/jobs/first/output/model.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py"},
    }
    assert "Environment" not in bodies[0]["PrimaryContainer"]
    assert len({body["ModelName"] for body in bodies}) == 3


def content(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if not name.endswith("Name") and name != "Tags"}


def test_a_serverless_endpoint_has_memory_in_the_place_of_machines() -> None:
    asked = {"endpoint.serverless": {"memory_mb": "2048", "concurrency": 7}}
    (variant,) = deployment(**asked).config["ProductionVariants"]
    assert variant == {
        "VariantName": "champion",
        "ModelName": deployment().model["ModelName"],
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 7},
        "InitialVariantWeight": 1.0,
    }


def test_a_share_of_requests_and_answers_is_kept_in_the_output_bucket() -> None:
    config = deployment(given={"kms_key_id": "alias/models"}, **{"endpoint.capture_percent": 20}).config
    assert config["DataCaptureConfig"] == {
        "EnableCapture": True,
        "InitialSamplingPercentage": 20,
        "DestinationS3Uri": "s3://models-of-acme/captured/pets",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        "KmsKeyId": "alias/models",
    }
    assert "DataCaptureConfig" not in deployment().config


@pytest.mark.parametrize("asked", [{}, {"endpoint.serverless.memory_mb": 1024}, {"endpoint.capture_percent": 100}])
def test_the_api_takes_every_kind_of_configuration(asked: dict[str, Any]) -> None:
    assert violations("sagemaker", "CreateEndpointConfig", deployment(**asked).config) == []


def test_a_deployment_that_serves_otherwise_updates_the_endpoint(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    client = FailingEndpoint(sagemaker)
    client.update_endpoint = lambda **_: None  # type: ignore[attr-defined]
    changed = {change: deployment(given=given) for change, given in OTHERWISE.items() if change != "nothing"}

    actions = {change: deploy(hosting(client), each) for change, each in changed.items()}

    assert actions == dict.fromkeys(changed, "updated")


def test_what_serves_the_same_is_called_the_same() -> None:
    turned = {"subnets": ["subnet-b", "subnet-a", "subnet-b"], "security_group_ids": ["sg-1"]}
    for one, other in (
        (NETWORK, turned),
        ({}, {"owner": "me", "tags": {"team": "x"}, "poll_seconds": 7, "prices": {"ml.m5.large": 1.0}}),
    ):
        first, second = deployment(given=one), deployment(run="run-2", given=other)
        assert first.config_name == second.config_name
        assert content(first.model) == content(second.model)


def test_another_model_updates_the_endpoint(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    updated: list[dict[str, str]] = []
    client = FailingEndpoint(sagemaker)
    client.update_endpoint = lambda **request: updated.append(request)  # type: ignore[attr-defined]
    assert deploy(hosting(client), deployment("second")) == "updated"
    assert updated == [{"EndpointName": "pets", "EndpointConfigName": deployment("second").config_name}]


def test_a_change_under_way_to_this_very_config_is_waited_for(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    second = deployment("second")
    pending = {"PendingDeploymentSummary": {"EndpointConfigName": second.config_name}}
    client = FailingEndpoint(sagemaker, EndpointStatus="Updating", **pending)
    assert deploy(hosting(client), second) == "unchanged"


def test_a_change_under_way_to_another_config_is_not_disturbed(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    client = FailingEndpoint(sagemaker, EndpointStatus="Updating")
    with pytest.raises(EndpointBusyError, match="Endpoint pets is Updating to configuration pets-"):
        deploy(hosting(client), deployment("second"))


def test_an_endpoint_that_failed_to_be_created_is_made_anew(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    client = FailingEndpoint(sagemaker, EndpointStatus="Failed")
    assert deploy(hosting(client), deployment("second")) == "created"
    assert describe_endpoint(sagemaker, "pets").config == deployment("second").config_name


def test_an_endpoint_that_went_back_to_its_old_config_says_so(sagemaker: Any) -> None:
    first, second = deployment(), deployment("second")
    deploy(hosting(sagemaker), first)
    client = FailingEndpoint(sagemaker, FailureReason="the model could not be loaded")
    with pytest.raises(DeploymentError) as failed:
        served(client, second)
    assert str(failed.value) == (
        f"Endpoint pets is InService and does not serve {second.config_name} (the model could not be loaded); "
        f"{first.config_name} (pets version first) still serves."
    )


def test_an_endpoint_that_another_run_has_changed_since_says_so(sagemaker: Any) -> None:
    first, second = deployment(), deployment("second")
    assert configs_before(sagemaker, first) == []
    deploy(hosting(sagemaker), second)
    assert configs_before(sagemaker, first) == [second.config_name]
    assert configs_before(sagemaker, second) == []
    with pytest.raises(SupersededError, match=f"Another run has changed endpoint pets to {second.config_name}"):
        served(sagemaker, first, before=[])


def test_a_model_that_another_endpoint_serves_too_stays(sagemaker: Any) -> None:
    first, second = deployment(), deployment(**{"endpoint.name": "second"})
    for each in (first, second):
        deploy(hosting(sagemaker), each)

    assert tear_down(hosting(sagemaker), "pets", config=first.config_name) == ["pets", first.config_name]
    assert tear_down(hosting(sagemaker), "second", config=second.config_name) == [
        "second",
        second.model["ModelName"],
        second.config_name,
    ]


def test_an_endpoint_that_serves_what_another_run_deployed_is_not_taken_down(sagemaker: Any) -> None:
    first, second = deployment(), deployment("second")
    deploy(hosting(sagemaker), second)
    assert tear_down(hosting(sagemaker), "pets", config=first.config_name) == []
    assert tear_down(hosting(sagemaker), "pets", config=second.config_name)[0] == "pets"


def test_taking_down_leaves_nothing_behind(sagemaker: Any) -> None:
    first = deployment()
    deploy(hosting(sagemaker), first)
    assert tear_down(hosting(sagemaker), "pets") == ["pets", first.model["ModelName"], first.config_name]
    assert sagemaker.list_endpoints()["Endpoints"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_models()["Models"] == []


def test_taking_down_leaves_the_model_of_a_running_transform_job(
    sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deployment()
    deploy(hosting(sagemaker), first)
    start_transform_job(sagemaker, first.model["ModelName"], monkeypatch)
    assert tear_down(hosting(sagemaker), "pets") == ["pets", first.config_name]
    assert [model["ModelName"] for model in sagemaker.list_models()["Models"]] == [first.model["ModelName"]]


def start_transform_job(sagemaker: Any, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sagemaker.create_transform_job(
        TransformJobName="predict",
        ModelName=model,
        TransformInput={"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://images-of-acme/"}}},
        TransformOutput={"S3OutputPath": "s3://models-of-acme/"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    job = sagemaker_backends["123456789012"]["eu-central-1"].transform_jobs["predict"]
    monkeypatch.setattr(job, "transform_job_status", "InProgress")


def test_an_endpoint_of_inference_components_is_described_and_taken_down(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    client = FailingEndpoint(sagemaker)
    described = sagemaker.describe_endpoint_config(EndpointConfigName=deployment().config_name)
    components = {**described, "ProductionVariants": [{"VariantName": "AllTraffic", "InstanceType": "ml.g5.xlarge"}]}
    client.describe_endpoint_config = lambda **_: components  # type: ignore[attr-defined]
    assert [variant.model for variant in describe_endpoint(client, "pets").variants] == [""]
    assert tear_down(hosting(client), "pets") == ["pets", deployment().config_name]


def test_taking_down_twice_is_no_error(sagemaker: Any) -> None:
    deploy(hosting(sagemaker), deployment())
    tear_down(hosting(sagemaker), "pets")
    assert tear_down(hosting(sagemaker), "pets") == []


def test_an_error_that_is_not_absence_is_not_swallowed(sagemaker: Any) -> None:
    class Throttled:
        def describe_endpoint(self, **_: Any) -> Any:
            raise ClientError(
                {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "DescribeEndpoint"
            )

    with pytest.raises(ClientError, match="Rate exceeded"):
        tear_down(hosting(Throttled()), "pets")
