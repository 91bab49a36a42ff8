"""What an answer of AWS means (something does not exist, an error passes by itself, what time it is there), and when to
ask again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


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
