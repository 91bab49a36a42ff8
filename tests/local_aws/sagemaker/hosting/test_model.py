from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import BUCKET, IMAGE, Scripted, unique
from tests.support.local_aws import ROLE

INSTANCES = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
SERVERLESS = {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}


def test_a_model_is_described_listed_and_deleted(scripted: Scripted, control: Any) -> None:
    name = scripted.model("good", Environment={"A": "1"})
    description = control.describe_model(ModelName=name)
    assert description["ModelArn"] == f"arn:aws:sagemaker:us-east-1:123456789012:model/{name}"
    assert description["PrimaryContainer"]["Image"] == IMAGE
    assert description["PrimaryContainer"]["Environment"] == {"A": "1"}
    assert description["ExecutionRoleArn"] == ROLE
    assert [model["ModelName"] for model in control.list_models(NameContains=name)["Models"]] == [name]
    control.delete_model(ModelName=name)
    for call in (control.describe_model, control.delete_model):
        with pytest.raises(ClientError, match=f'Could not find model ".*:model/{name}"') as refusal:
            call(ModelName=name)
        assert refusal.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/absent.tar.gz"}, "Could not access model data"),
        ({"Image": IMAGE, "ModelDataUrl": "s3://no-such-bucket/m.tar.gz"}, "Could not access model data"),
        ({"Image": "1.dkr.ecr.us-east-1.amazonaws.com/nobody:1"}, "nobody"),
        ({"ModelDataUrl": f"s3://{BUCKET}/absent.tar.gz"}, "Image or ModelPackageName"),
        ({"ModelPackageName": "nobody"}, "does not exist"),
        ({"Image": IMAGE, "Mode": "MultiModel"}, "MultiModel is not available"),
    ],
)
def test_a_model_that_could_not_run_is_refused(control: Any, container: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as refusal:
        control.create_model(ModelName=unique("model"), ExecutionRoleArn=ROLE, PrimaryContainer=container)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_a_model_name_is_taken_once(scripted: Scripted, control: Any) -> None:
    name = scripted.model("good")
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        control.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE})


def test_a_config_is_described_listed_and_deleted(scripted: Scripted, control: Any) -> None:
    model = scripted.model("good")
    name = scripted.config(a=(model, 1.0), b=(model, 2.0))
    description = control.describe_endpoint_config(EndpointConfigName=name)
    assert description["EndpointConfigArn"].endswith(f":endpoint-config/{name}")
    weights = {v["VariantName"]: v["InitialVariantWeight"] for v in description["ProductionVariants"]}
    assert weights == {"a": 1.0, "b": 2.0}
    listed = control.list_endpoint_configs(NameContains=name)["EndpointConfigs"]
    assert [config["EndpointConfigName"] for config in listed] == [name]
    with pytest.raises(ClientError, match="Cannot create already existing endpoint configuration"):
        control.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{"VariantName": "a", "ModelName": model, **INSTANCES}]
        )
    control.delete_endpoint_config(EndpointConfigName=name)
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        control.describe_endpoint_config(EndpointConfigName=name)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ([{**INSTANCES, "ModelName": "nobody"}], "Could not find model"),
        ([{}], "needs InstanceType and InitialInstanceCount"),
        ([{**INSTANCES, **SERVERLESS}], "can't be given together"),
        ([{"ServerlessConfig": {"MemorySizeInMB": 1500, "MaxConcurrency": 5}}], "1024, 2048"),
        ([SERVERLESS, {**SERVERLESS, "VariantName": "b"}], "one production variant only"),
        ([INSTANCES, INSTANCES], "VariantName must be unique"),
        ([{**INSTANCES, "InitialVariantWeight": 0.0}], "greater than 0"),
    ],
)
def test_contradictory_configs_are_refused(
    scripted: Scripted, control: Any, variants: list[dict[str, Any]], message: str
) -> None:
    model = scripted.model("good")
    named = [{"VariantName": "a", "ModelName": model, **variant} for variant in variants]
    with pytest.raises(ClientError, match=message):
        control.create_endpoint_config(EndpointConfigName=unique("config"), ProductionVariants=named)


def test_what_is_not_local_is_refused_by_name(scripted: Scripted, control: Any) -> None:
    variant = {"VariantName": "a", "ModelName": scripted.model("good"), **INSTANCES}
    with pytest.raises(ClientError, match="ShadowProductionVariants is not available in the local AWS"):
        control.create_endpoint_config(
            EndpointConfigName=unique("config"),
            ProductionVariants=[variant],
            ShadowProductionVariants=[{**variant, "VariantName": "b"}],
        )


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"Type": "CANARY", "WaitIntervalInSeconds": 0}, "CanarySize is required"),
        ({"Type": "ALL_AT_ONCE", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}, "can't be given"),
        ({"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 60}}, "1 to 50 percent"),
        ({"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 5}}, "10 to 50 percent"),
    ],
)
def test_contradictory_deployments_are_refused(
    scripted: Scripted, control: Any, policy: dict[str, Any], message: str
) -> None:
    routing = {"WaitIntervalInSeconds": 0, **policy}
    with pytest.raises(ClientError, match=message):
        control.create_endpoint(
            EndpointName=unique("endpoint"),
            EndpointConfigName=scripted.config(a=(scripted.model("good"), 1.0)),
            DeploymentConfig={"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}},
        )
