"""Clients that people use, unmodified, beside boto3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import get_session
from airflow import settings
from airflow.models.connection import Connection
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.sdk.exceptions import AirflowException

from tests.support.airflow_home import DATABASE
from tests.support.local_aws import TOY_IMAGE, RunningLocalAws, finished_job, training_request
from tests.support.sdk import core_resources

CREDENTIALS = {"aws_access_key_id": "tests", "aws_secret_access_key": "tests", "region_name": "us-east-1"}


@pytest.fixture
def aws_environment(local_aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    connection = Connection(conn_id="aws_default", conn_type="aws", extra={"region_name": "us-east-1"})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection.get_uri())


@pytest.mark.usefixtures("aws_environment")
def test_the_training_operator_waits_for_its_job(sagemaker: Any) -> None:
    operator = SageMakerTrainingOperator(
        task_id="train", config=training_request("operator"), print_log=False, check_interval=1, deferrable=False
    )
    assert operator.execute({})["Training"]["TrainingJobStatus"] == "Completed"


@pytest.mark.usefixtures("aws_environment")
def test_the_hook_prints_the_log(sagemaker: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sagemaker.create_training_job(**training_request("printed"))
    finished_job(sagemaker, "printed")
    hook = SageMakerHook(aws_conn_id="aws_default")
    hook.check_training_status_with_log(
        "printed",
        non_terminal_states={"InProgress"},
        failed_states={"Failed"},
        wait_for_completion=True,
        check_interval=0,
    )
    assert "Epoch[0] Train-accuracy=0.5" in capsys.readouterr().out


@pytest.mark.usefixtures("aws_environment")
def test_the_training_operator_fails_with_the_reason(sagemaker: Any) -> None:
    config = training_request("operator-failing", HyperParameters={"failure": "no luck", "exit": "1"})
    operator = SageMakerTrainingOperator(
        task_id="train", config=config, print_log=False, check_interval=1, deferrable=False
    )
    with pytest.raises(AirflowException, match="no luck"):
        operator.execute({})


@pytest.mark.usefixtures("aws_environment")
async def test_the_asynchronous_hook_follows_a_job(sagemaker: Any) -> None:
    sagemaker.create_training_job(**training_request("waited-for"))
    hook = SageMakerHook(aws_conn_id="aws_default")
    async with await hook.get_async_conn() as client:
        waiter = hook.get_waiter("TrainingJobComplete", deferrable=True, client=client)
        await waiter.wait(TrainingJobName="waited-for", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})


async def test_aiobotocore_reads_the_same_state(local_aws: RunningLocalAws, sagemaker: Any) -> None:
    sagemaker.create_training_job(**training_request("seen-by-aio"))
    session = get_session()
    async with session.create_client("sagemaker", endpoint_url=local_aws.url, **CREDENTIALS) as client:
        described = await client.describe_training_job(TrainingJobName="seen-by-aio")
        assert described["AlgorithmSpecification"]["TrainingImage"] == TOY_IMAGE
        with pytest.raises(client.exceptions.ClientError, match="Requested resource not found"):
            await client.describe_training_job(TrainingJobName="unknown")


def test_sagemaker_core_resources_train_and_wait(local_aws: RunningLocalAws, s3: Any, tmp_path: Path) -> None:
    request = training_request("core")
    source = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    assert source["S3DataType"] == "S3Prefix"
    output = request["OutputDataConfig"]["S3OutputPath"]
    job = core_resources(
        "train", "core", TOY_IMAGE, request["RoleArn"], source["S3Uri"], output, url=local_aws.url, home=tmp_path
    )
    assert job["status"] == "Completed"
    assert job["artifact"].endswith("/jobs/core/output/model.tar.gz")


def test_airflow_as_a_client_keeps_to_the_home_of_the_tests() -> None:
    assert f"sqlite:///{DATABASE}" == settings.SQL_ALCHEMY_CONN
