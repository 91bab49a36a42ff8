"""What a job that completed lacks, so that its model cannot be used: files in its artifact, a value of the objective.

Sources: developer guide, "How Amazon SageMaker AI Processes Training Output" (`/opt/ml/model` becomes model.tar.gz) and
"Monitor and Analyze Training Jobs Using Metrics" (each line is searched by the regular expressions).
"""

from __future__ import annotations

import itertools
import logging
import tarfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from include.sagemaker.objective import script_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.sagemaker.job_results import JobResult

log = logging.getLogger(__name__)

ABSENT = frozenset({"NoSuchKey", "404"})
MOST_MEMBERS = 10_000
"""Members of an archive that are read until one is a file."""


def job_flaws(s3: S3Client, description: Mapping[str, Any], result: JobResult) -> list[str]:
    """What a completed training job lacks, each as sentences that end in what to do; `description` is AWS's answer."""
    flaws = []
    if not result.artifact or not holds_files(s3, result.artifact):
        flaws.append(no_model(description, result.artifact))
    if result.value is None:
        flaws.append(no_objective(description, result.objective.metric))
    return flaws


def no_model(description: Mapping[str, Any], artifact: str | None) -> str:
    """A job whose program wrote no model."""
    found = f"{artifact} has no file" if artifact else "there is no artifact"
    return (
        f"{_program(description)} left no model in /opt/ml/model: {found}. Write the model there (in script mode the "
        "variable SM_MODEL_DIR names the folder) before the program ends."
    )


def no_objective(description: Mapping[str, Any], objective: str) -> str:
    """A job whose program printed no value of the objective; `description` may be a tuning job's definition."""
    program = _program(description)
    definitions = description["AlgorithmSpecification"].get("MetricDefinitions") or ()
    expression = next((metric["Regex"] for metric in definitions if metric["Name"] == objective), None)
    if expression is None:
        return f"{program} reports no {objective}: read its log, and give it images to validate."
    return (
        f"{program} printed no {objective}: the regular expression {expression} finds a number in none of its lines. "
        "Print such a line after each epoch, with one call of `print`, or correct "
        "training.algorithm.metric_definitions."
    )


def holds_files(s3: S3Client, artifact: str) -> bool:
    """Whether a model.tar.gz, or a prefix with a slash at its end, holds a file; of an archive the beginning is read.

    What S3 does not let us read is taken for a model: whoever uses it hears why.
    """
    bucket, _, key = artifact.removeprefix("s3://").partition("/")
    try:
        if key.endswith("/"):
            return bool(s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount"))
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
        with body, tarfile.open(fileobj=body, mode="r|*") as archive:
            return any(member.isfile() for member in itertools.islice(_members(archive), MOST_MEMBERS))
    except ClientError as error:
        if error.response["Error"]["Code"] in ABSENT:
            return False
        log.warning("Whether %s has a model is not known: %s", artifact, error)
    except BotoCoreError as error:
        log.warning("Whether %s has a model is not known: %s", artifact, error)
    except (tarfile.TarError, EOFError):
        return False
    return True


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member


def _program(description: Mapping[str, Any]) -> str:
    """The script of script mode, or the image that has been run."""
    script = script_of(description)
    if script is None:
        return str(description["AlgorithmSpecification"].get("TrainingImage", "The algorithm"))
    return f"{script.entry_point} of {script.archive}" if script.archive else script.entry_point
