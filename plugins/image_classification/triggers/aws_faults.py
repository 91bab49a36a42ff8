"""Which errors of AWS pass by themselves, so that waiting goes on."""

from __future__ import annotations

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


def error_code(error: Exception) -> str:
    """The code that AWS answered with; empty where AWS did not answer."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def passing_fault(error: Exception) -> str | None:
    """What to tell a person about an error that may be gone at the next try, None for one that stays.

    Throttling, faults of the service itself, stale credentials and lost connections pass.
    """
    from airflow.providers.amazon.aws.utils.waiter_with_logging import RETRIABLE_ERROR_CODES
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code = error_code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code if code in RETRIABLE_ERROR_CODES | STALE_CREDENTIALS or status >= 500 else None
    lost = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.CredentialRetrievalError)
    return str(error) if isinstance(error, lost) else None
