from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from image_classification.job_kinds import TRAINING
from image_classification.operators.job_failure import job_failure, refused_request

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


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "CreateTrainingJob")


def test_a_request_that_is_wrong_is_not_sent_again() -> None:
    assert isinstance(refused_request(TRAINING, "digits-1", refusal("ValidationException")), AirflowFailException)


def test_a_request_that_was_throttled_or_over_quota_may_be_sent_again() -> None:
    for code in ("ThrottlingException", "ResourceLimitExceeded"):
        assert not isinstance(refused_request(TRAINING, "digits-1", refusal(code)), AirflowFailException)
