"""What SageMaker's API calls the parts of each kind of job, and what its answers mean.

Of a kind of job: API actions, fields, statuses, log group, console page. Of an answer: something does not exist, a list
has further pages, an error passes by itself, what time it is at AWS; and when to ask again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from include.sagemaker.naming import LONGEST_NAME, LONGEST_TUNING_NAME

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_sagemaker import SageMakerClient

ACTIVE = frozenset({"InProgress", "Creating", "Updating", "SystemUpdating", "RollingBack", "Stopping", "Deleting"})
"""Statuses that change by themselves; every other status is final."""

BEFORE_THE_CONTAINER = frozenset(
    {"Pending", "Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Downloading", "DownloadingTrainingImage"}
)
"""Secondary statuses of a training job whose container does not run yet, and so writes no log."""

INTERRUPTED = frozenset({"Interrupted", "Restarting"})
"""Secondary statuses of a training job that has lost its machine and continues with another one."""

TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
"""The log group of training jobs, those of tuning jobs among them."""
ABSENT = ("could not find", "does not exist", "cannot find", "not found")
PASSING_CODES = frozenset(
    {
        "BadGateway",
        "GatewayTimeout",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Error codes of throttling and of faults of the service: those that Airflow's own waiters ask again after."""
STALE_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
    }
)
"""Error codes after which signing in again may help."""
JITTER = 0.1
MOST_DOUBLINGS = 6
LONGEST_SECONDS = 120.0


@dataclass(frozen=True)
class JobKind:
    """One kind of job; `action` is what API actions end in (`CreateTrainingJob`), `subject` what fields start with.

    `listed` shows whether its List action finds all that are under way with one status, `longest_name` how many
    characters its name may have.
    """

    noun: str
    action: str
    subject: str
    log_group: str | None
    console_page: str
    done: str = "Completed"
    listed: bool = True
    longest_name: int = LONGEST_NAME

    @property
    def create(self) -> str:
        """The client's method that starts one."""
        return f"create_{self.action}"

    @property
    def describe(self) -> str:
        """The client's method that describes one."""
        return f"describe_{self.action}"

    @property
    def list(self) -> str:
        """The client's method that lists many at once."""
        return f"list_{self.action}s"

    @property
    def summaries(self) -> str:
        """The field of a List answer that holds them."""
        return f"{self.subject}Summaries"

    @property
    def stop(self) -> str:
        """The client's method that stops one."""
        return f"stop_{self.action}"

    @property
    def name_field(self) -> str:
        """The request's and description's field of the name."""
        return f"{self.subject}Name"

    @property
    def arn_field(self) -> str:
        """The field of its ARN in a description and in a List answer's summary."""
        return f"{self.subject}Arn"

    def log_place(self, name: str) -> tuple[str, str]:
        """The log group of a job or endpoint, and how the streams start that are its own."""
        if self.log_group:
            return self.log_group, f"{name}/"
        if self.action == "endpoint":
            return f"/aws/sagemaker/Endpoints/{name}", ""
        return TRAINING_LOGS, f"{name}-"  # a tuning job's training jobs

    def named(self, name: str) -> dict[str, str]:
        """The arguments that point at one job."""
        return {self.name_field: name}

    def status(self, description: Mapping[str, Any]) -> str:
        """The status in a describe answer, or in a List answer's summary."""
        return str(description[f"{self.subject}Status"])


TRAINING = JobKind("training job", "training_job", "TrainingJob", TRAINING_LOGS, "jobs")
TUNING = JobKind(
    "tuning job",
    "hyper_parameter_tuning_job",
    "HyperParameterTuningJob",
    None,
    "hyper-tuning-jobs",
    longest_name=LONGEST_TUNING_NAME,
)
TRANSFORM = JobKind("transform job", "transform_job", "TransformJob", "/aws/sagemaker/TransformJobs", "transform-jobs")
ENDPOINT = JobKind("endpoint", "endpoint", "Endpoint", None, "endpoints", done="InService", listed=False)

KINDS = {kind.action: kind for kind in (TRAINING, TUNING, TRANSFORM, ENDPOINT)}


def existing(describe: Callable[..., Mapping[str, Any]], **name: str) -> Mapping[str, Any] | None:
    """The description, or None if AWS has nothing of that name; other errors are raised."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - DAG files load this module

    try:
        return describe(**name)
    except ClientError as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: ClientError) -> bool:
    """Whether an error says that something does not exist, as SageMaker's ValidationException and S3's 404 do too."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"].lower()
    return code in ("ResourceNotFound", "ResourceNotFoundException", "404", "NoSuchKey") or (
        code == "ValidationException" and any(phrase in message for phrase in ABSENT)
    )


def pages_of(sagemaker: SageMakerClient, action: str, field: str, **filters: Any) -> Iterator[Mapping[str, Any]]:
    """The summaries of a List action."""
    for page in sagemaker.get_paginator(action).paginate(**filters):  # type: ignore[call-overload]
        yield from page[field]


def error_code(error: Exception) -> str:
    """The code that AWS answered with; empty if AWS did not answer."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def passing_fault(error: Exception) -> str | None:
    """What to show a person of an error that may be gone at the next try, None for one that stays.

    Throttling, faults of the service itself, stale credentials and lost connections pass.
    """
    from botocore import exceptions  # noqa: PLC0415 - DAG files load this module

    if isinstance(error, exceptions.ClientError):
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code if code in PASSING_CODES | STALE_CREDENTIALS or status >= 500 else None
    lost = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.CredentialRetrievalError)
    return str(error) if isinstance(error, lost) else None


def time_at_aws(answer: Mapping[str, Any]) -> float:
    """The Unix time at which AWS answered, by its own clock, as all times in its answers are."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


@dataclass
class Backoff:
    """How long to wait before AWS is polled again: the pace that was asked for, and double after each failure in a row.

    Jitter, which only ever adds, keeps triggerers that started together from asking together.
    """

    failures: int = field(default=0, init=False)

    def wait(self, poll_seconds: float) -> float:
        """Seconds until the next look."""
        longest = max(LONGEST_SECONDS, 4 * poll_seconds)
        doubled = poll_seconds * 2.0 ** min(self.failures, MOST_DOUBLINGS)
        if self.failures:
            doubled = max(doubled, 1.0)
        return min(doubled, longest) * random.uniform(1.0, 1 + JITTER)  # noqa: S311
