from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError
from moto import mock_aws

from image_classification.operators.job_failure import (
    LAST_LINES,
    PATIENCE,
    AccountFullError,
    job_failure,
    last_log_lines,
    refused_request,
    seconds_to_wait,
    without_toolkit,
)
from include.sagemaker.api import TRAINING, TUNING

LINES = ["reading the records", "Customer Error: num_classes is 10, but label 12 occurs"]


def failed(reason: str) -> dict[str, str]:
    return {"TrainingJobStatus": "Failed", "FailureReason": reason}


def test_a_customers_error_is_final_and_shows_reason_and_log() -> None:
    error = job_failure(TRAINING, "digits-1", failed("ClientError: num_classes is wrong"), LINES)

    assert isinstance(error, AirflowFailException)
    assert "training job digits-1 ended as Failed: ClientError: num_classes is wrong" in str(error)
    assert "  Customer Error: num_classes is 10, but label 12 occurs" in str(error)


def test_an_algorithms_error_is_final() -> None:
    assert isinstance(
        job_failure(TRAINING, "digits-1", failed("AlgorithmError: exit code 1"), []), AirflowFailException
    )


def test_errors_of_aws_leave_the_retries_to_the_task() -> None:
    for reason in ("InternalServerError: try again", "CapacityError: no ml.g5.xlarge", ""):
        error = job_failure(TRAINING, "digits-1", failed(reason), [])

        assert isinstance(error, AirflowException)
        assert not isinstance(error, AirflowFailException)


def test_a_stopped_job_is_not_started_again_by_itself() -> None:
    error = job_failure(TRAINING, "digits-1", {"TrainingJobStatus": "Stopped", "SecondaryStatus": "Stopped"}, [])

    assert isinstance(error, AirflowFailException)
    assert "somebody stopped it. Clear the task" in str(error)


def test_a_job_that_ran_into_its_limit_says_which_limit() -> None:
    description = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}

    assert "resources.max_runtime_seconds" in str(job_failure(TRAINING, "digits-1", description, []))


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            'AlgorithmError: InstallRequirementsError:\nExitCode 1\nErrorMessage "", exit code: 1',
            "pip could not install requirements.txt. Name versions that exist for the Python of the image",
        ),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode 1", "Correct the script, and clear the task."),
        (
            "AlgorithmError: killed by SIGKILL, exit code: 137",
            "take a smaller batch, or a larger resources.instance_ty",
        ),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode -9\nErrorMessage, exit code: 1", "take a smaller batch"),
        ('AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "CUDA out of memory"', "a smaller batch"),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode -11\nErrorMessage, exit code: 1", "A library crashed"),
        ("AlgorithmError: the container ended without writing output/failure", "Correct it, and clear the task."),
    ],
)
def test_a_failure_of_a_program_names_what_to_do(reason: str, remedy: str) -> None:
    assert remedy in str(job_failure(TRAINING, "digits-1", failed(reason), LINES))


TOOLKIT = "2026-01-02 17:06:01,349 sagemaker-training-toolkit"
OF_A_SCRIPT = [
    "SM_CHANNEL_TRAIN=/opt/ml/input/data/train",
    "",
    "Invoking script with the following command:",
    "",
    "/opt/conda/bin/python train.py --epochs 3",
    "",
    f"{TOOLKIT} INFO     Exceptions not imported for SageMaker TF as Tensorflow is not installed.",
    "Traceback (most recent call last):",
    "ValueError: labels.json has no classes",
    f"{TOOLKIT} INFO     Waiting for the process to finish and give a return code.",
    f"{TOOLKIT} ERROR    Reporting training FAILURE",
    f"{TOOLKIT} ERROR    ExecuteUserScriptError:",
    "ExitCode 1",
]


def test_what_the_toolkit_writes_around_a_scripts_lines_is_left_out() -> None:
    of_script = ["Traceback (most recent call last):", "ValueError: labels.json has no classes"]

    assert without_toolkit(OF_A_SCRIPT) == of_script
    assert without_toolkit(OF_A_SCRIPT[7:]) == of_script
    assert without_toolkit(["epoch 1", "", "epoch 2"]) == ["epoch 1", "epoch 2"]
    assert without_toolkit([*OF_A_SCRIPT[:7], *OF_A_SCRIPT[9:]]) == [], "it printed nothing"
    assert without_toolkit(OF_A_SCRIPT[10:12]) == OF_A_SCRIPT[10:12], "it never began"


def stopping(seconds: float) -> dict[str, Any]:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    transition = {"Status": "Stopping", "StartTime": start, "EndTime": start + timedelta(seconds=seconds)}
    status = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}
    return {**status, "SecondaryStatusTransitions": [transition, {"Status": "Stopped", "StartTime": start}]}


def test_a_program_that_outlived_sigterm_is_named_and_one_that_ended_is_not() -> None:
    killed = "It did not end within 120 seconds of SIGTERM and was killed"

    assert killed in str(job_failure(TRAINING, "digits-1", stopping(121), []))
    assert killed not in str(job_failure(TRAINING, "digits-1", stopping(20), []))


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "CreateTrainingJob")


def test_a_request_that_is_wrong_is_not_sent_again() -> None:
    assert isinstance(refused_request(TRAINING, "digits-1", refusal("ValidationException")), AirflowFailException)


def test_a_request_that_was_throttled_or_over_quota_may_be_sent_again() -> None:
    for code in ("ThrottlingException", "ResourceLimitExceeded"):
        assert not isinstance(refused_request(TRAINING, "digits-1", refusal(code)), AirflowFailException)


FULL = (
    "The account-level service limit 'ml.g5.xlarge for training job usage' is {} Instances, with current utilization "
    "of {} Instances and a request delta of 1 Instances."
)


def full(limit: int, used: int) -> AccountFullError:
    error = ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": FULL.format(limit, used)}}, "Create")
    refused = refused_request(TRAINING, "digits-1", error)
    assert isinstance(refused, AccountFullError)
    return refused


def test_a_full_account_may_be_free_later_and_a_quota_of_zero_never_is() -> None:
    assert not full(2, 2).is_hopeless
    assert full(0, 0).is_hopeless
    assert "Raise the quota 'ml.g5.xlarge for training job usage'" in full(0, 0).remedy


def test_a_full_account_is_asked_further_and_further_apart_until_the_patience_ends() -> None:
    assert [seconds_to_wait(30, waited) for waited in (0, 600, 7200)] == [60, 300, 600]
    assert seconds_to_wait(30, PATIENCE.total_seconds()) is None


def test_what_the_role_may_not_do_is_not_tried_again() -> None:
    assert isinstance(refused_request(TRAINING, "digits-1", refusal("AccessDeniedException")), AirflowFailException)


def test_a_tuning_job_whose_training_jobs_failed_by_themselves_is_not_tried_again() -> None:
    described = {"HyperParameterTuningJobStatus": "Failed", "FailureReason": "All training jobs failed."}

    own = job_failure(TUNING, "t", described, [], causes=["AlgorithmError: no such optimizer", ""])
    of_aws = job_failure(TUNING, "t", described, [], causes=["InternalServerError: try again", "CapacityError: none"])

    assert isinstance(own, AirflowFailException)
    assert not isinstance(of_aws, AirflowFailException)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("logs", region_name="us-east-1")
        client.create_log_group(logGroupName=TRAINING.log_group)
        yield client


def write(logs: Any, stream: str, lines: int) -> None:
    logs.create_log_stream(logGroupName=TRAINING.log_group, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": f"{stream} {number}"} for number in range(lines)]
    logs.put_log_events(logGroupName=TRAINING.log_group, logStreamName=stream, logEvents=events)


def test_a_failure_shows_the_end_of_every_machines_log(logs: Any) -> None:
    for stream in ("algo-1-100", "algo-2-100", "algo-1-200", "algo-10-100"):
        write(logs, f"digits-1/{stream}", 30)
    write(logs, "digits-10/algo-1-100", 1)

    lines = last_log_lines(logs, TRAINING, "digits-1")

    assert lines == [
        f"[{machine}] digits-1/{stream} {number}"
        for machine, stream in (("algo-1", "algo-1-200"), ("algo-2", "algo-2-100"), ("algo-10", "algo-10-100"))
        for number in range(30 - LAST_LINES // 3, 30)
    ]


def test_a_failure_of_one_machine_shows_the_end_of_its_last_log(logs: Any) -> None:
    write(logs, "digits-1/algo-1-100", 30)
    write(logs, "digits-1/algo-1-200", 2)

    assert last_log_lines(logs, TRAINING, "digits-1") == ["digits-1/algo-1-200 0", "digits-1/algo-1-200 1"]
    assert last_log_lines(logs, TRAINING, "digits-2") == []
