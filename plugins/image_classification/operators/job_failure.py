"""What went wrong with a job, in words that need no console, and whether trying again can help.

An account whose quota is used up has not failed yet: other jobs hold the machines, and may give them back. Sources:
"Amazon SageMaker AI endpoints and quotas"; the message of ResourceLimitExceeded, "The account-level service limit
'ml.g5.xlarge for training job usage' is 2 Instances, with current utilization of 2 Instances and a request delta of 1
Instances."
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.sagemaker.api import JobKind
from include.sagemaker.naming import by_machine, machine_of

LAST_LINES = 20
LINES_READ = 100
HOPELESS = ("ClientError", "AlgorithmError", "No objective metrics found", "No training job succeeded")
"""How FailureReason starts when the same job would fail the same way again."""

LIMITS = {
    "MaxRuntimeExceeded": "resources.max_runtime_seconds",
    "MaxWaitTimeExceeded": "resources.max_wait_seconds",
}
"""Secondary statuses of a training job that reached a limit, and where the limit is set."""

REMEDIES = (
    (
        "InstallRequirementsError",
        "pip could not install requirements.txt. Name versions that exist for the Python of the image, or put the "
        "wheels beside the script and name them by their path; with network isolation pip downloads nothing",
    ),
    (
        r"exit code: 137|ExitCode (-9|137)\b|MemoryError|OutOfMemory|out of memory",
        "Memory ran out, or somebody killed the program: take a smaller batch, or a larger resources.instance_type",
    ),
    (
        r"exit code: 139|ExitCode (-11|139)\b",
        "A library crashed: install other versions of what requirements.txt or the image brings",
    ),
    ("ExecuteUserScriptError", "The script ended with an error: its last lines show where. Correct the script"),
    ("without writing output/failure", "The program ended with an error: its last lines show where. Correct it"),
)
"""What to do about a failed job, by a pattern in its FailureReason; the first that is found counts."""

TOOLKIT = "sagemaker-training-toolkit"
"""What stands in the lines that SageMaker's toolkit writes around those of a script."""
COMMAND_FOLLOWS = "Invoking script with the following command:"
SCRIPT_HAS_FAILED = "Reporting training FAILURE"

STOP_GRACE_SECONDS = 120
"""How long after SIGTERM SageMaker waits for the container's end, which it then kills."""

KILLED = (
    f"It did not end within {STOP_GRACE_SECONDS} seconds of SIGTERM and was killed, so what it had not written is "
    "lost: let the program save its model and end when it gets SIGTERM"
)

REFUSED = frozenset(
    {
        "ValidationException",
        "AccessDeniedException",
        "AccessDenied",
        "NotAuthorized",
        "OptInRequired",
        "ResourceInUse",
        "ResourceNotFound",
        "UnknownOperationException",
        "UnrecognizedClientException",
    }
)
"""Error codes of requests that AWS refuses however often they are sent."""

FULL = "ResourceLimitExceeded"
PATIENCE = timedelta(hours=6)
"""How long a task waits for its turn."""

LONGEST_WAIT = timedelta(minutes=10)
SHARE_OF_ELAPSED = 0.5

LIMIT = re.compile(r"limit '(?P<quota>[^']+)' is (?P<limit>\d+)\b.*?request delta of (?P<asked>\d+)\b", re.DOTALL)


def job_failure(
    kind: JobKind, name: str, description: Mapping[str, Any], details: Sequence[str], causes: Sequence[str] = ()
) -> AirflowException:
    """The error of a job that did not complete; `details` are shown, `causes` are reasons of jobs it consists of.

    An AirflowFailException, which ends the task at once, when the job was stopped or when its input or algorithm is to
    blame; a plain AirflowException, after which a retry starts the next attempt, when AWS is (no capacity, say).
    """
    status = kind.status(description)
    reason = str(description.get("FailureReason", "")).strip()
    shown = "\n".join(["", *(f"  {line}" for line in details)]) if details else ""
    if status == "Stopped":
        cause = _why_stopped(description)
        return AirflowFailException(
            f"The {kind.noun} {name} was stopped: {cause}. Clear the task to start another.{shown}"
        )
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, reason)), "")
    what_to_do = f"\n{remedy}, and clear the task." if remedy else ""
    message = f"The {kind.noun} {name} ended as {status}: {reason or 'AWS gives no reason'}{what_to_do}{shown}"
    hopeless = any(text.startswith(HOPELESS) for text in (reason, *causes))
    return AirflowFailException(message) if hopeless else AirflowException(message)


def unusable_job(kind: JobKind, name: str, flaws: Sequence[str], lines: Sequence[str]) -> AirflowFailException:
    """The error of a job that completed and left nothing to continue with; `lines` are the last of its log."""
    shown = "\n".join(["", "Its last lines:", *(f"  {line}" for line in lines)]) if lines else ""
    return AirflowFailException(
        f"The {kind.noun} {name} completed, and its model cannot be used. {' '.join(flaws)} Then clear the task, or "
        f"start another run if its run conf has to change.{shown}"
    )


def was_stopped_by_hand(kind: JobKind, description: Mapping[str, Any]) -> bool:
    """Whether somebody stopped the job, a killed task too, and no limit of its own."""
    return kind.status(description) == "Stopped" and description.get("SecondaryStatus") not in LIMITS


def refused_request(kind: JobKind, name: str, error: Any) -> AirflowException:
    """The error of a request that AWS answered with an error; `error` is botocore's ClientError.

    An AccountFullError if others hold the machines; after every other error but the REFUSED a retry may help.
    """
    code = error.response["Error"]["Code"]
    message = f"AWS did not take the {kind.noun} {name}: {error}"
    if code == FULL:
        return AccountFullError(message)
    return AirflowFailException(message) if code in REFUSED else AirflowException(message)


class AccountFullError(AirflowException):
    """AWS takes no further job of this kind just now."""

    @property
    def is_hopeless(self) -> bool:
        """Whether the quota is too small for the job also when no other runs."""
        found = LIMIT.search(str(self))
        return found is not None and int(found["asked"]) > int(found["limit"])

    @property
    def remedy(self) -> str:
        """What a person can do about it."""
        found = LIMIT.search(str(self))
        quota = f"'{found['quota']}'" if found else "of the instance type"
        return f"Raise the quota {quota} in Service Quotas, or choose another resources.instance_type."


def seconds_to_wait(poll_seconds: float, waited: float) -> float | None:
    """Seconds until the next try, further and further apart; None when the patience is at its end."""
    if waited >= PATIENCE.total_seconds():
        return None
    return min(max(2 * poll_seconds, SHARE_OF_ELAPSED * waited), LONGEST_WAIT.total_seconds())


def last_log_lines(logs: Any, kind: JobKind, name: str) -> list[str]:
    """The end of a job's log in CloudWatch Logs, empty if it has none that can be read.

    Of several machines each one's last lines, a machine after the other, with its name before every line.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if kind.log_group is None:
        return []
    try:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=kind.log_group, logStreamNamePrefix=f"{name}/"
        )
        streams = (stream["logStreamName"] for page in pages for stream in page["logStreams"])
        newest = {machine_of(stream): stream for stream in sorted(streams, key=by_machine)}
        lines: list[str] = []
        for machine, stream in list(newest.items())[:LAST_LINES]:
            page = logs.get_log_events(
                logGroupName=kind.log_group,
                logStreamName=stream,
                limit=max(LINES_READ // len(newest), 1),
                startFromHead=False,
            )
            mark = f"[{machine}] " if len(newest) > 1 else ""
            printed = without_toolkit([event["message"].rstrip() for event in page["events"]])
            lines += [f"{mark}{line}" for line in printed[-max(LAST_LINES // len(newest), 1) :]]
    except (ClientError, BotoCoreError):
        return []
    return lines


def without_toolkit(lines: Sequence[str]) -> list[str]:
    """The lines of a script, without those in which SageMaker's toolkit shows how it starts and how it ended."""
    last = max((number for number, line in enumerate(lines) if COMMAND_FOLLOWS in line), default=-1)
    shown = lines[last + 1 :]
    if last >= 0:
        shown = list(itertools.dropwhile(lambda line: not line, shown))[1:]  # the command itself
    end = next((number for number, line in enumerate(shown) if SCRIPT_HAS_FAILED in line), len(shown))
    printed = [line for line in shown[:end] if line and TOOLKIT not in line]
    return printed if printed or last >= 0 else [line for line in lines if line]


def _why_stopped(description: Mapping[str, Any]) -> str:
    limit = LIMITS.get(str(description.get("SecondaryStatus")))
    cause = f"it reached {limit}" if limit else "somebody stopped it"
    return f"{cause}. {KILLED}" if _was_killed(description) else cause


def _was_killed(description: Mapping[str, Any]) -> bool:
    """Whether the container outlived SIGTERM for as long as SageMaker waits."""
    return any(
        transition["Status"] == "Stopping"
        and transition.get("EndTime") is not None
        and (transition["EndTime"] - transition["StartTime"]).total_seconds() >= STOP_GRACE_SECONDS
        for transition in description.get("SecondaryStatusTransitions") or ()
    )
