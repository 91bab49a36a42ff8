"""The model that a run continues with: the best of its training jobs, why it is the best, and what others lack.

A job may complete and leave a model that cannot be used: no file in its artifact, no value of the objective. Sources:
developer guide, "How Amazon SageMaker AI Processes Training Output" (`/opt/ml/model` becomes model.tar.gz) and "Monitor
and Analyze Training Jobs Using Metrics" (each line is searched by the regular expressions).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

from include.sagemaker.job_results import AlgorithmKind, JobResult, Objective, Part, script_of
from include.training.run_jobs import billed_seconds, rank, unusable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.run_conf import RunConf
    from include.training.run_jobs import RunJob

log = logging.getLogger(__name__)

FULL: tuple[Part, ...] = ("base", "tuned")
"""Jobs that train for as long as the run conf says, and do not belong to a search."""

ABSENT = frozenset({"NoSuchKey", "404"})
MOST_MEMBERS = 10_000
"""Members of an archive that are read until one is a file."""


class BestModel(BaseModel):
    """The model that is selected: its job, its artifact and everything its job was sent.

    `value` is that of the objective with the weights in the artifact, None if nothing shows it. `reason` says why it is
    the best, `trial` which trial it is, `dataset_uri` which dataset version it learned from. `label_set` is the
    fingerprint of its classes, known of a model that comes from the registry.
    """

    model_config = ConfigDict(frozen=True)

    job: str
    algorithm: AlgorithmKind = "builtin"
    objective: Objective
    value: float | None
    artifact: str
    hyperparameters: dict[str, str]
    billable_seconds: int | None = None
    tuning_job: str | None = None
    trial: str = ""
    dataset_uri: str | None = None
    label_set: str | None = None
    reason: str = ""


class NoUsableJobError(ValueError):
    """No job completed with the objective and an artifact; the message shows what became of each."""


class SkippedJob(BaseModel):
    """A job that was not considered, and why."""

    model_config = ConfigDict(frozen=True)

    job: str
    reason: str


@dataclass(frozen=True)
class Selection:
    """The best model, all usable jobs with the best first, and the others with their reason."""

    best: BestModel
    chosen: RunJob
    ranked: Sequence[RunJob]
    skipped: Sequence[SkippedJob]


def select_best(
    jobs: Sequence[RunJob], conf: RunConf | None = None, *, holds_model: Callable[[str], bool] = lambda _: True
) -> Selection:
    """The best of `jobs` by the objective's value with the weights in their artifacts.

    With a `conf`, those compete that `contenders` names. Equal values: the job that cost fewer seconds, then the name.
    Jobs that did not complete, or have no value or artifact, are skipped and named; so are the best ones whose
    artifact does not satisfy `holds_model`. Raises NoUsableJobError if none is left.
    """
    considered = contenders(jobs, conf) if conf else list(jobs)
    reasons = {job.result.name: unusable(job.result) for job in considered}
    skipped = [SkippedJob(job=name, reason=reason) for name, reason in reasons.items() if reason]
    ranked = rank(job for job in considered if not reasons[job.result.name])
    # The lower ranks of a large tuning job were listed and not described: they show no artifact.
    best = next((job for job in ranked if job.result.artifact), None)
    while best and not holds_model(str(best.result.artifact)):
        skipped.append(SkippedJob(job=best.result.name, reason=f"left no model: {best.result.artifact} has no file"))
        ranked.remove(best)
        best = next((job for job in ranked if job.result.artifact), None)
    if best is None:
        skipped += [SkippedJob(job=job.result.name, reason="left no artifact") for job in ranked]
        raise NoUsableJobError(_nothing_left(considered, skipped))
    result = best.result
    others = [job for job in jobs if job not in considered]
    model = BestModel(
        job=result.name,
        algorithm=result.algorithm,
        objective=result.objective,
        value=result.value,
        artifact=str(result.artifact),
        hyperparameters=result.hyperparameters,
        billable_seconds=result.billable_seconds,
        tuning_job=best.tuning_job,
        trial=best.trial,
        dataset_uri=result.dataset_uri,
        reason=_reason(ranked, len(considered)) + _who_did_not_compete(others, conf),
    )
    return Selection(model, best, ranked, skipped)


def better_of(base: BestModel, further: JobResult) -> BestModel:
    """The model that a run ends with: that of the job which trained the `base` further, or the base if it is better.

    They are compared by the objective's value of the weights that each kept, on the validation images: test images
    have to stay unseen until the evaluation. The base is kept only if both learned from the same dataset version:
    others have other validation images, and the evaluation compares a champion with what became of it.
    """
    reached, before, objective = further.value, base.value, further.objective
    alike = base.dataset_uri is not None and base.dataset_uri == further.dataset_uri and base.objective == objective
    if alike and reached is not None and before is not None and objective.is_worse(reached, before):
        reason = f"{further.name} trained it further and reached {reached:.4f}, which is worse than {before:.4f}"
        return base.model_copy(update={"reason": reason})
    return BestModel(
        job=further.name,
        algorithm=further.algorithm,
        objective=objective,
        value=reached,
        artifact=str(further.artifact),
        hyperparameters=further.hyperparameters,
        billable_seconds=further.billable_seconds,
        trial=base.trial,
        dataset_uri=further.dataset_uri,
    )


def contenders(jobs: Sequence[RunJob], conf: RunConf) -> list[RunJob]:
    """The jobs of a run among which `training.continue_with` chooses.

    With `tune_then_train` that is the full job, and the tuning job's best only if `tune` asks for it, or if `best` does
    and the full job cannot be used.
    """
    wanted, mode = conf.training.continue_with, conf.training.mode
    if mode == "tune_then_train" and wanted == "best" and any(_is_usable(job, FULL) for job in jobs):
        wanted = "train"
    parts: dict[str, tuple[Part, ...]] = {"train": FULL, "tune": ("tuning",), "best": (*FULL, "tuning")}
    return [job for job in jobs if job.part in parts[wanted]]


def label_set_fingerprint(labels: Sequence[str]) -> str:
    """A short fingerprint of class names in class order, where the names themselves would be too long to keep."""
    return hashlib.sha256(json.dumps(list(labels)).encode()).hexdigest()[:16]


def _is_usable(job: RunJob, parts: Collection[Part]) -> bool:
    return job.part in parts and not unusable(job.result)


def _reason(ranked: Sequence[RunJob], considered: int) -> str:
    usable = [job for job in ranked if job.result.artifact]
    best, metric, value = usable[0].result, usable[0].result.objective.metric, usable[0].result.value
    reached = f"{metric} {value:.4f}{_after(best)}"
    if len(usable) == 1:
        return f"{reached}, " + ("the only job" if considered == 1 else f"the only usable one of {considered} jobs")
    second = usable[1].result
    if second.value != value:
        first = f"the {best.objective.superlative} {metric}: {value:.4f}{_after(best)}"
        return f"{first}, then {second.name} with {second.value:.4f}"
    equal = sum(job.result.value == value for job in usable)
    if billed_seconds(best) < billed_seconds(second):
        return (
            f"{reached} as {equal} jobs have it, and the cheapest of them: {billed_seconds(best):.0f} billable "
            f"seconds, then {second.name} with {_shown_seconds(second)}"
        )
    return f"{reached} at the same cost as {second.name}: the first by name"


def _after(result: JobResult) -> str:
    return f" after epoch {result.kept_epoch}" if result.kept_epoch else ""


def _who_did_not_compete(others: Sequence[RunJob], conf: RunConf | None) -> str:
    """What else the run trained and why it was not compared, empty if nothing."""
    if not others or conf is None:
        return ""
    searched = sum(job.part == "tuning" for job in others)
    counts = ((len(others) - searched, "base job"), (searched, "tuned job"))
    named = " and ".join(f"{count} {noun}{'s' * (count > 1)}" for count, noun in counts if count)
    wanted, mode = conf.training.continue_with, conf.training.mode
    why = f"training.continue_with is {wanted}" if wanted != "best" else f"training.mode is {mode}"
    return f"; {named} did not compete, as {why}"


def _shown_seconds(result: JobResult) -> str:
    seconds = billed_seconds(result)
    return f"{seconds:.0f}" if math.isfinite(seconds) else "unknown"


def _nothing_left(considered: Sequence[RunJob], skipped: Sequence[SkippedJob]) -> str:
    if not skipped:
        return "There is no training job to choose from: check that the training tasks of this run ended."
    reasons = "\n".join(f"  {skip.job}: {skip.reason}" for skip in skipped)
    metrics = ", ".join(sorted({job.result.objective.metric for job in considered}))
    return f"No training job completed with {metrics}:\n{reasons}\nCorrect what they failed on and run again."


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
