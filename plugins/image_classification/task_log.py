"""What a task's log shows beside the task's own lines: nothing that a person has to read past.

Airflow writes log entries through structlog, whose processors see each entry before it is written. One more processor
is put before them here, in the processes that run tasks and triggers.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from airflow.sdk.exceptions import AirflowException, AirflowFailException

QUIET = ("botocore.credentials", "botocore.configprovider", "aiobotocore.credentials")
"""Loggers that write one line for each AWS client, where its credentials and its endpoint come from."""

FAILED = "Task failed with exception"
HANDED_ON = "Pushing xcom"
CONDITION = "Condition result is "
LONGEST = 500
"""Characters of the message of a fault: all of it is below the traceback."""
OWN_PACKAGES = ("include.", "image_classification.")


def keep_readable() -> None:
    """Quieten libraries, and put the processor in its place; a level that the installation has set stays."""
    for name in QUIET:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
    processors = structlog.get_config()["processors"]  # the list itself: loggers that exist already use it too
    if shorten not in processors:
        processors.insert(0, shorten)


def shorten(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The entry without what no person reads: documents that tasks pass on, and where in the code a refusal came from.

    A refusal's own message becomes the entry, each of its lines an entry of its own. Every other error keeps its
    traceback, and its message comes first, as an entry of its own.
    """
    event = str(entry.get("event", ""))
    if event.startswith(CONDITION):
        raise structlog.DropEvent
    if event == HANDED_ON:
        entry.pop("ti", None)
    if event != FAILED:
        return entry
    error = sys.exc_info()[1]
    if error is None:
        return entry
    lines = [line for line in str(error).splitlines() if line.strip()]
    if not is_refusal(error):
        message = f"{type(error).__name__}: {' '.join(lines)}"[:LONGEST].rstrip(": ")
        structlog.get_logger("task").error(f"Task failed: {message}")
        return entry
    entry.pop("exc_info", None)
    first, *lines = lines or [type(error).__name__]
    *others, last = [f"Task failed: {first}", *lines]
    for line in others:
        structlog.get_logger("task").error(line)
    entry["event"] = last
    return entry


def is_refusal(error: BaseException) -> bool:
    """Whether the error is this project's own, whose message says what to do; a fault in the code is none."""
    is_own = type(error).__module__.startswith(OWN_PACKAGES)
    return is_own or isinstance(error, AirflowFailException) or type(error) is AirflowException
