"""`python -m classifier train` and `python -m classifier serve`: what SageMaker starts in the container."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Sequence

from .job_folders import JobError, JobFolders

LINE_FORMAT = "[%(asctime)s %(levelname)s %(thread)d] %(message)s"
TIME_FORMAT = "%m/%d/%Y %H:%M:%S"
"""As SageMaker's built-in algorithms begin their lines."""


def main(arguments: Sequence[str]) -> int:
    """Train or serve, and give the exit code: 0 if it ended or was stopped, 1 with a message if it cannot be done."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=LINE_FORMAT, datefmt=TIME_FORMAT, force=True)
    try:
        match [*arguments]:
            case ["train"]:
                from .job import run_job  # noqa: PLC0415 - Keras takes seconds to load, and a server needs no training

                run_job(JobFolders.from_environment())
            case ["serve"]:
                from .serving import serve  # noqa: PLC0415

                serve()
            case _:
                raise JobError(f"{' '.join(arguments) or 'Nothing'} cannot be done: the verbs are train and serve.")
    except JobError as error:
        return failed(str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the job's failure reason names it
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return failed(f"No space is left on the disk at {error.filename}: give the job a larger volume.")
        traceback.print_exc()
        return failed(f"{type(error).__name__}: {' '.join(str(error).split())[:800]}")
    return 0


def failed(message: str) -> int:
    """Put a reason into the log and into the job's failure reason, and give the exit code."""
    sys.stderr.write(f"Error: {message}\n")
    try:
        failure = JobFolders.from_environment().failure
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(message)
    except OSError as error:
        sys.stderr.write(f"The failure reason cannot be written: {error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
