"""Whether AWS has something, asked by describing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

ABSENT = ("could not find", "does not exist", "cannot find", "not found")


def existing(describe: Callable[..., Mapping[str, Any]], **name: str) -> Mapping[str, Any] | None:
    """The description, or None where AWS has nothing of that name; other errors are raised."""
    try:
        return describe(**name)
    except ClientError as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: ClientError) -> bool:
    """Whether an error says that something does not exist; SageMaker says so with a ValidationException."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"].lower()
    return code in ("ResourceNotFound", "ResourceNotFoundException") or (
        code == "ValidationException" and any(phrase in message for phrase in ABSENT)
    )
