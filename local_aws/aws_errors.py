"""Errors of the AWS API: a code that programs tell apart and a message for the person who reads it."""

from __future__ import annotations

from collections.abc import Iterator


class AwsError(Exception):
    """A refusal that the server answers in the protocol of the service that was asked.

    `code` is the API's error code (`ValidationException`), `message` its text, `status` the HTTP status: 400 for
    everything a caller could have known, because clients retry 500, 502, 503 and 504.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def validation_error(message: str) -> AwsError:
    """The error for a request that can be seen to be wrong, and for most unknown resources of SageMaker."""
    return AwsError("ValidationException", message)


def resource_in_use(message: str) -> AwsError:
    """The error for a name that is taken, or a resource that something else still needs."""
    return AwsError("ResourceInUse", message)


def resource_not_found(message: str) -> AwsError:
    """The error of the SageMaker actions that have a code of their own for unknown resources."""
    return AwsError("ResourceNotFound", message)


def resource_limit_exceeded(message: str) -> AwsError:
    """The error for a quota of the account."""
    return AwsError("ResourceLimitExceeded", message)


def requested_resource_not_found() -> AwsError:
    """What SageMaker answers when a job of that name does not exist."""
    return validation_error("Requested resource not found.")


def could_not_find(kind: str, arn: str) -> AwsError:
    """What SageMaker answers for hosting resources: kind is "model", "endpoint", "endpoint configuration"."""
    return validation_error(f'Could not find {kind} "{arn}".')


def already_existing(kind: str, arn: str) -> AwsError:
    """What SageMaker answers when a hosting resource of that name exists."""
    return validation_error(f'Cannot create already existing {kind} "{arn}".')


def not_implemented(service: str, action: str) -> AwsError:
    """The error for an action that exists on AWS but not here; 400, so that no client retries it."""
    return AwsError("NotImplemented", f"The local AWS does not implement {service}:{action}.")


def not_local(feature: str) -> AwsError:
    """The error for a feature of SageMaker that this machine does not have, by its name in the API."""
    return validation_error(f"{feature} is not available in the local AWS.")


def refuse(problems: Iterator[str]) -> None:
    """Raise ValidationException that names all the problems, if there are any."""
    found = list(problems)
    if len(found) == 1:
        raise validation_error(found[0])
    if found:
        raise validation_error(f"{len(found)} validation errors detected: {'; '.join(found)}")
