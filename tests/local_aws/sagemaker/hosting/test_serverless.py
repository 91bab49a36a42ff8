"""Serverless endpoints: what they cannot have, and how many requests they answer at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import IMAGE, Scripted, unique
from tests.local_aws.sagemaker.gates import Gate
from tests.local_aws.sagemaker.hosting.test_rollout import blue_green
from tests.support.local_aws import ROLE, eventually

CAPACITY = {"MemorySizeInMB": 2048, "MaxConcurrency": 2}


@contextlib.contextmanager
def held(folder: Path, runtime: Any, endpoint: str, count: int) -> Iterator[None]:
    """So many requests that the container works at; they are answered at the end."""
    gates = [Gate(folder) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(runtime.invoke_endpoint, EndpointName=endpoint, Body=gate.body) for gate in gates]
        try:
            for gate in gates:
                gate.wait_until_reached()
            yield
        finally:
            for gate in gates:
                gate.open()
        assert [one.result()["Body"].read() for one in asked] == [b"waited"] * count


def config(control: Any, model: str, **capacity: int) -> str:
    name = unique("config")
    variant = {"VariantName": "all", "ModelName": model, "ServerlessConfig": {**CAPACITY, **capacity}}
    control.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


@pytest.fixture
def endpoint(scripted: Scripted, control: Any) -> Iterator[str]:
    name = unique("serverless")
    control.create_endpoint(EndpointName=name, EndpointConfigName=config(control, scripted.model("old")))
    assert scripted.settled(name)["EndpointStatus"] == "InService"
    yield name
    control.delete_endpoint(EndpointName=name)


def test_a_serverless_endpoint_reports_its_capacity(scripted: Scripted, endpoint: str) -> None:
    (summary,) = scripted.settled(endpoint)["ProductionVariants"]
    assert summary["CurrentServerlessConfig"] == CAPACITY
    assert summary["CurrentInstanceCount"] == 0


def test_requests_beyond_the_concurrency_are_throttled(runtime: Any, endpoint: str, tmp_path: Path) -> None:
    with held(tmp_path, runtime, endpoint, CAPACITY["MaxConcurrency"]):
        with pytest.raises(ClientError, match="Rate exceeded: variant all answers at most 2 requests") as throttled:
            runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")
        response = throttled.value.response
        assert response["Error"]["Code"] == "ThrottlingException"
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")["InvokedProductionVariant"] == "all"


def test_instances_answer_as_many_requests_as_come(
    scripted: Scripted, runtime: Any, control: Any, tmp_path: Path
) -> None:
    name = unique("endpoint")
    control.create_endpoint(EndpointName=name, EndpointConfigName=scripted.config(all=(scripted.model(), 1.0)))
    scripted.settled(name)
    with held(tmp_path, runtime, name, 5):
        assert runtime.invoke_endpoint(EndpointName=name, Body=b"image")["InvokedProductionVariant"] == "all"


def test_the_concurrency_follows_a_change_of_the_capacity(
    scripted: Scripted, control: Any, runtime: Any, endpoint: str, tmp_path: Path
) -> None:
    with held(tmp_path, runtime, endpoint, 2):
        change = {"VariantName": "all", "ServerlessUpdateConfig": {"MaxConcurrency": 3}}
        control.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=[change])
        (summary,) = scripted.settled(endpoint)["ProductionVariants"]
        assert summary["CurrentServerlessConfig"] == {**CAPACITY, "MaxConcurrency": 3}
        with held(tmp_path, runtime, endpoint, 1), pytest.raises(ClientError, match="at most 3 requests"):
            runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")


def test_an_update_moves_its_traffic_in_steps(scripted: Scripted, control: Any, runtime: Any, endpoint: str) -> None:
    fresh = config(control, scripted.model("new"), MaxConcurrency=5)
    control.update_endpoint(
        EndpointName=endpoint, EndpointConfigName=fresh, DeploymentConfig=blue_green("CANARY", size=50)
    )
    described = scripted.settled(endpoint)
    assert described["EndpointConfigName"] == fresh
    assert described["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"] == 5
    eventually(lambda: b'"new"' in runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")["Body"].read())


def test_instances_can_take_its_place_and_not_give_it_back(scripted: Scripted, control: Any, endpoint: str) -> None:
    serverless = control.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    instances = scripted.config(all=(scripted.model("new"), 1.0))
    control.update_endpoint(EndpointName=endpoint, EndpointConfigName=instances, RetainAllVariantProperties=True)
    (summary,) = scripted.settled(endpoint)["ProductionVariants"]
    assert (summary["DesiredInstanceCount"], "CurrentServerlessConfig" in summary) == (1, False)
    with pytest.raises(ClientError, match="can't be updated to a serverless one") as refusal:
        control.update_endpoint(EndpointName=endpoint, EndpointConfigName=serverless)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}, "has a VpcConfig"),
        ({"EnableNetworkIsolation": True}, "has network isolation"),
        ({"Containers": [{"Image": IMAGE}, {"Image": IMAGE}]}, "is a pipeline of 2 containers"),
    ],
)
def test_models_that_need_instances_are_refused(control: Any, change: dict[str, Any], reason: str) -> None:
    model = unique("model")
    container = {} if "Containers" in change else {"PrimaryContainer": {"Image": IMAGE}}
    control.create_model(ModelName=model, ExecutionRoleArn=ROLE, **container, **change)
    with pytest.raises(ClientError, match=f"Model {model} {reason}.* serverless endpoint"):
        config(control, model)
