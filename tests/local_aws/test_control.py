"""Faults of AWS that a test may order, and the count of calls."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.local_aws import (
    BUCKET,
    RunningLocalAws,
    ask,
    calls,
    eventually,
    finished_job,
    interrupt,
    log_lines,
    start_local_aws,
    training_request,
)
from tests.unit.docs.commands import shown


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    """A local AWS of its own: faults meant for one test must not meet another."""
    running = start_local_aws(tmp_path_factory.mktemp("control"))
    s3 = running.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="data/train/train.rec", Body=b"records")
    yield running
    running.end()


def spot_request(name: str, **wanted: str) -> dict[str, Any]:
    return training_request(
        name,
        HyperParameters=wanted,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/{name}"},
    )


def status(aws: RunningLocalAws, job: str) -> str:
    return str(aws.client("sagemaker").describe_training_job(TrainingJobName=job)["SecondaryStatus"])


def said(aws: RunningLocalAws, job: str) -> list[str]:
    logs = aws.client("logs")
    try:
        return log_lines(logs, job)
    except logs.exceptions.ResourceNotFoundException:
        return []


def interrupt_as_shown(url: str, job: str) -> None:
    """Send what the command of the page sends; curl itself may not be there."""
    (command,) = shown("curl -X POST *")
    _, _, method, _, header, address = command.words
    name, _, value = header.partition(": ")
    address = address.replace("http://127.0.0.1:4566", url).replace("my-spot-job", job)
    request = urllib.request.Request(address, method=method, headers={name: value})
    urllib.request.urlopen(request, timeout=30).close()


def test_an_interrupted_spot_job_goes_on_from_its_checkpoints_on_another_instance(aws: RunningLocalAws) -> None:
    request = spot_request("interrupted", checkpoint="half-way", epochs="2", seconds="2")
    aws.client("sagemaker").create_training_job(**request)
    eventually(lambda: "Epoch[0] Validation-accuracy=0.4" in said(aws, "interrupted"))
    interrupt_as_shown(aws.url, "interrupted")

    job = finished_job(aws.client("sagemaker"), "interrupted")

    assert [transition["Status"] for transition in job["SecondaryStatusTransitions"]] == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert "checkpoint epoch-0 half-way" in said(aws, "interrupted")
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


def test_an_interrupted_job_can_be_stopped(aws: RunningLocalAws) -> None:
    aws.client("sagemaker").create_training_job(**spot_request("unlucky", seconds="60"))
    eventually(lambda: status(aws, "unlucky") == "Training" and said(aws, "unlucky"))
    interrupt(aws.url, "unlucky")
    aws.client("sagemaker").stop_training_job(TrainingJobName="unlucky")

    assert finished_job(aws.client("sagemaker"), "unlucky")["TrainingJobStatus"] == "Stopped"


def test_only_a_spot_job_whose_container_runs_can_be_interrupted(aws: RunningLocalAws) -> None:
    aws.client("sagemaker").create_training_job(**training_request("on-demand"))
    finished_job(aws.client("sagemaker"), "on-demand")

    with pytest.raises(urllib.error.HTTPError) as refused:
        interrupt(aws.url, "on-demand")
    with pytest.raises(urllib.error.HTTPError) as unknown:
        interrupt(aws.url, "never-made")

    assert (refused.value.code, unknown.value.code) == (409, 404)
    assert b"only a spot job" in refused.value.read()


def test_calls_are_refused_as_often_as_was_asked_for(aws: RunningLocalAws) -> None:
    ask(
        aws.url,
        "faults",
        {"action": "sagemaker:ListModels", "code": "ThrottlingException", "message": "Rate exceeded", "times": 2},
    )

    for _ in range(2):
        with pytest.raises(ClientError, match=r"ThrottlingException.*Rate exceeded"):
            aws.client("sagemaker").list_models()

    assert aws.client("sagemaker").list_models()["Models"] == []


def test_a_client_that_tries_again_does_not_notice_a_few_refusals(aws: RunningLocalAws) -> None:
    ask(aws.url, "faults", {"action": "s3:HeadObject", "code": "SlowDown", "status": 503, "times": 2})
    patient = boto3.client(
        "s3",
        endpoint_url=aws.url,
        aws_access_key_id="tests",
        aws_secret_access_key="tests",
        config=Config(retries={"total_max_attempts": 3}),
    )

    assert patient.head_object(Bucket=BUCKET, Key="data/train/train.rec")["ContentLength"] == 7


def test_jobs_fail_for_the_reason_that_was_asked_for(aws: RunningLocalAws) -> None:
    reason = "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different type."
    ask(aws.url, "faults", {"failure_reason": reason})
    sagemaker = aws.client("sagemaker")

    sagemaker.create_training_job(**training_request("no-capacity"))
    failed = finished_job(sagemaker, "no-capacity")
    sagemaker.create_training_job(**training_request("the-next-one"))

    assert (failed["TrainingJobStatus"], failed["FailureReason"]) == ("Failed", reason)
    assert finished_job(sagemaker, "the-next-one")["TrainingJobStatus"] == "Completed"


def test_calls_are_counted_without_those_of_the_server_itself(aws: RunningLocalAws) -> None:
    before = calls(aws.url)
    aws.client("sagemaker").create_training_job(**training_request("counted"))
    finished_job(aws.client("sagemaker"), "counted")
    after = calls(aws.url)

    assert after["sagemaker:CreateTrainingJob"] == before["sagemaker:CreateTrainingJob"] + 1
    assert after["sagemaker:DescribeTrainingJob"] > before["sagemaker:DescribeTrainingJob"]
    assert "logs:PutLogEvents" not in after


@pytest.mark.parametrize("document", [{"code": "ThrottlingException"}, {"action": "s3:GetObject", "colour": "red"}])
def test_what_is_no_fault_is_refused(aws: RunningLocalAws, document: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(aws.url, "faults", document)

    assert refused.value.code == 400


def test_paths_that_are_not_there_are_named(aws: RunningLocalAws) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(aws.url, "nothing")

    assert refused.value.code == 404
    assert b"/_local_aws/nothing" in refused.value.read()


def test_what_is_not_implemented_is_refused_at_once(aws: RunningLocalAws) -> None:
    with pytest.raises(ClientError, match="NotImplemented"):
        aws.client("service-quotas").list_service_quotas(ServiceCode="sagemaker")
    with pytest.raises(ClientError, match="NotImplemented"):
        aws.client("pricing").get_products(ServiceCode="AmazonSageMaker")
