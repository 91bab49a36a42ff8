"""Why a job failed, in the form of FailureReason: the kind of error AWS names, and what a person can do."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

from local_aws.container_process import ContainerStartError
from local_aws.storage import S3Location

LONGEST_REASON = 1024
LONGEST_FAILURE_FILE = 900
REMEDIES = {
    ".venv-mxnet": "The built-in algorithm runs in .venv-mxnet beside local_aws: make it with `make setup`",
    ".venv-pytorch": "AWS's PyTorch images run in .venv-pytorch beside local_aws: make it with `make pytorch`",
    "/opt/ml of its own": (
        "A process gets its own /opt/ml by unshare(2) and mount(2): allow the server these (in Docker, "
        "--cap-add SYS_ADMIN), or read SAGEMAKER_BASE_DIR instead of naming /opt/ml"
    ),
}
"""What to do about a command that cannot be started, by a word of the error."""


class JobFailure(Exception):
    """A job that failed; the message is its FailureReason."""


def of_container(returncode: int, base: Path, last_line: str) -> JobFailure:
    """Explain an exit code other than 0 (negative: the signal), by output/failure of the container or its last line."""
    code = returncode if returncode >= 0 else 128 - returncode
    written = _failure_file(base / "output" / "failure")
    if written:
        kind = "ClientError" if written.startswith("Customer Error") else "AlgorithmError"
        return JobFailure(f"{kind}: {written}, exit code: {code}")
    if returncode < 0:
        reason = f"the container was killed from outside by {signal_name(-returncode)}"
        if returncode == -signal.SIGKILL:
            reason += " (by hand, or by the system because memory ran out)"
    else:
        reason = "the container ended without writing output/failure"
    said = f"; its last line: {last_line[:500]}" if last_line else ""
    return JobFailure(f"AlgorithmError: {reason}{said}, exit code: {code}")


def what_to_do(error: ContainerStartError) -> str:
    """What a person can do about a container that could not be started."""
    remedy = next((remedy for word, remedy in REMEDIES.items() if word in str(error)), None)
    other = "the image to another command with `python -m local_aws --image REPOSITORY=COMMAND`"
    return f"{remedy}, or map {other}" if remedy else f"Map {other}"


def _failure_file(path: Path) -> str:
    try:
        with path.open("rb") as failure:
            return failure.read(LONGEST_FAILURE_FILE).decode(errors="replace").strip()
    except OSError:
        return ""


def signal_name(number: int) -> str:
    """The name of a signal: SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def of_system(error: OSError, phase: str, folder: Path) -> str:
    """Explain an error of the operating system; a full disk is named as such."""
    where = error.filename or folder
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"ClientError: the disk is full: {error.strerror} at {where}, in phase {phase}. Free some space, or give "
            "the local AWS another place with --state-dir"
        )
    return f"InternalServerError: {error.strerror or error} at {where}, in phase {phase}"


def no_objects(location: S3Location, region: str, role: str, said: str) -> JobFailure:
    """Say in AWS's words that a channel's prefix holds nothing."""
    message = f" Error message from S3: {said}" if said else ""
    return JobFailure(
        f'ClientError: No S3 objects found under S3 URL "{location.uri}" given in input data source. Please ensure '
        f"that the bucket exists in the selected region ({region}), that objects exist under that S3 prefix, and that "
        f'the role "{role}" has "s3:ListBucket" permissions on bucket "{location.bucket}".{message}'
    )
