"""Clients that people use, unmodified, beside boto3: the amazon provider's operators and sagemaker-core."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from airflow.models.connection import Connection
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerDeleteModelOperator,
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
    SageMakerRegisterModelVersionOperator,
    SageMakerTransformOperator,
    SageMakerTuningOperator,
)
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerEndpointSensor, SageMakerTuningSensor
from airflow.providers.amazon.aws.triggers.sagemaker import SageMakerTrigger
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import BUCKET, IMAGE, Scripted, unique
from tests.local_aws.sagemaker.tuning.test_job import between, definition, qualities, request, tuned
from tests.support.local_aws import ROLE
from tests.support.sdk import core_resources


@pytest.fixture(autouse=True)
def aws_environment(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.running.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    connection = Connection(conn_id="aws_default", conn_type="aws", extra={"region_name": "us-east-1"})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection.get_uri())


def model_config(scripted: Scripted, name: str) -> dict[str, Any]:
    container = {"Image": IMAGE, "ModelDataUrl": scripted.put_model({"answer.txt": b"good"})}
    return {"ModelName": name, "ExecutionRoleArn": ROLE, "PrimaryContainer": container}


def variant(model: str) -> dict[str, Any]:
    return {"VariantName": "a", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}


def test_the_operators_deploy_update_and_sense_an_endpoint(scripted: Scripted, runtime: Any) -> None:
    name = unique("operators")
    SageMakerModelOperator(task_id="model", config=model_config(scripted, name)).execute({})
    config = {"EndpointConfigName": name, "ProductionVariants": [variant(name)]}
    SageMakerEndpointConfigOperator(task_id="config", config=config).execute({})
    endpoint = {"EndpointName": name, "EndpointConfigName": name}
    for task in ("create", "update"):  # the second finds the endpoint there and updates it
        result = SageMakerEndpointOperator(
            task_id=task, operation="create", config=endpoint, check_interval=1, deferrable=False
        ).execute({})
        assert result["Endpoint"]["EndpointStatus"] == "InService"
    SageMakerEndpointSensor(task_id="sense", endpoint_name=name, poke_interval=1).execute({})
    assert runtime.invoke_endpoint(EndpointName=name, Body=b"x")["InvokedProductionVariant"] == "a"
    SageMakerDeleteModelOperator(task_id="delete", config={"ModelName": name}).execute({})


def test_the_tuning_operator_waits_and_its_sensor_sees_the_end(scripted: Scripted) -> None:
    prefix = scripted.put("train.rec", b"records").removesuffix("train.rec")
    document = request(qualities("0.2", "0.8"), jobs=2)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": prefix}}
    channel = {"ChannelName": "train", "DataSource": source}
    document["TrainingJobDefinition"] = definition(InputDataConfig=[channel])
    result = SageMakerTuningOperator(
        task_id="tune", config=document, check_interval=1, deferrable=False, wait_for_completion=True
    ).execute({})
    assert result["Tuning"]["HyperParameterTuningJobStatus"] == "Completed"
    SageMakerTuningSensor(task_id="sense", job_name=document["HyperParameterTuningJobName"], poke_interval=1).execute(
        {}
    )


async def test_the_trigger_sees_a_tuning_job_end(control: Any) -> None:
    name = tuned(control, request(qualities("0.2"), jobs=1, parallel=1))["HyperParameterTuningJobName"]
    trigger = SageMakerTrigger(
        job_name=name, job_type="tuning", poke_interval=1, max_attempts=10, aws_conn_id="aws_default"
    )
    assert [event.payload["status"] async for event in trigger.run()] == ["success"]


def test_the_transform_operator_makes_its_model_and_stores_the_answers(scripted: Scripted) -> None:
    name, prefix, output = unique("operators"), uuid.uuid4().hex, uuid.uuid4().hex
    s3 = scripted.client("s3")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/one.jpg", Body=b"1")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}/"}}
    config = {
        "Model": model_config(scripted, name),
        "Transform": {
            "TransformJobName": name,
            "ModelName": name,
            "TransformInput": {"DataSource": source, "ContentType": "image/jpeg"},
            "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/{output}"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
    }
    result = SageMakerTransformOperator(task_id="transform", config=config, check_interval=1, deferrable=False).execute(
        {}
    )
    assert result["Transform"]["TransformJobStatus"] == "Completed"
    assert s3.head_object(Bucket=BUCKET, Key=f"{output}/one.jpg.out")["ContentLength"] > 0


def test_the_registry_operator_makes_its_group_and_a_version(scripted: Scripted, tmp_path: Path) -> None:
    group = unique("group")
    arn = SageMakerRegisterModelVersionOperator(
        task_id="register",
        image_uri=IMAGE,
        model_url=scripted.put_model({"answer.txt": b"good"}),
        package_group_name=group,
    ).execute({})
    assert arn.endswith(f":model-package/{group}/1")
    package = core_resources("read_model_package", arn, url=scripted.running.url, home=tmp_path)
    assert package == {"approval": "PendingManualApproval", "image": IMAGE}


def test_sagemaker_core_deploys_waits_and_deletes(scripted: Scripted, tmp_path: Path) -> None:
    model_data = scripted.put_model({"answer.txt": b"good"})
    endpoint = core_resources(
        "deploy", unique("core"), IMAGE, ROLE, model_data, url=scripted.running.url, home=tmp_path
    )
    assert endpoint["variant"] == "a"


def test_sagemaker_core_reads_a_tuning_job(scripted: Scripted, control: Any, tmp_path: Path) -> None:
    name = tuned(control, request(between("0.1", "0.9"), jobs=2))["HyperParameterTuningJobName"]
    job = core_resources("read_tuning_job", name, url=scripted.running.url, home=tmp_path)
    assert job["status"] == "Completed"
    assert job["best"].startswith(name)
    assert job["training_jobs"] == 2


def test_the_waiters_of_boto3_see_the_end_of_everything(scripted: Scripted, control: Any) -> None:
    fast = {"Delay": 1, "MaxAttempts": 60}
    endpoint = unique("endpoint")
    control.create_endpoint(EndpointName=endpoint, EndpointConfigName=scripted.config(a=(scripted.model("good"), 1.0)))
    control.get_waiter("endpoint_in_service").wait(EndpointName=endpoint, WaiterConfig=fast)
    control.delete_endpoint(EndpointName=endpoint)
    control.get_waiter("endpoint_deleted").wait(EndpointName=endpoint, WaiterConfig=fast)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        control.describe_endpoint(EndpointName=endpoint)
