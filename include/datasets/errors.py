"""What is wrong with a dataset, in words for the person who started the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

LONGEST_REASON = 200


class DatasetError(ValueError):
    """A dataset that cannot be built or read as asked; the message names field, value, origin and remedy."""


@contextmanager
def reading_foreign_bytes(
    error_of: Callable[[str], Exception], *, own: tuple[type[Exception], ...] = (DatasetError,)
) -> Iterator[None]:
    """Turn whatever a library raises on bytes that it did not write into the error that `error_of` makes of a reason.

    Libraries name no complete list of what they raise: pyarrow alone lets eleven kinds of exception through. Errors of
    the kinds `own`, and those of AWS, which are not about the bytes, stay as they are.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (*own, BotoCoreError, ClientError)):
            raise
        raise error_of(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Say in one short line what an exception of a library says."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if not line or isinstance(error, KeyError | IndexError | AttributeError | TypeError):
        line = f"{type(error).__name__} {line}".strip()
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."
