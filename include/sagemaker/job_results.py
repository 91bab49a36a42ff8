"""What a finished job leaves for the next task: a small document instead of the whole description.

The objective, by which the models of training jobs are compared, and what ran are read from the job itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from include.sagemaker.epochs import kept_weights, marked_weights

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.sagemaker.epochs import EpochMetrics, KeptWeights

Direction = Literal["Maximize", "Minimize"]
AlgorithmKind = Literal["builtin", "script", "container"]
"""AWS's image classification, a script in one of AWS's framework containers, or a container of your own."""

OBJECTIVE_VARIABLE = "IMAGE_CLASSIFICATION_OBJECTIVE"
"""The variable in the environment of a job that is not the built-in algorithm's."""
PROGRAM = "sagemaker_program"
"""The hyperparameter by which a script's job is recognized."""
SUBMIT_DIRECTORY = "sagemaker_submit_directory"
"""The hyperparameter that holds the address of the script's archive."""
CODE = "code"
"""The channel that brings the script's archive to a container without a network."""

JobRole = Literal["base", "tuning", "incremental"]
Part = Literal["base", "tuning", "tuned", "incremental", "parent"]
"""What a job was for: a base job, a search for hyperparameters, a full job with the best of them, further training of
the best model, or the job of an earlier run whose model this run trains further."""

LEARNED_FROM = re.compile(r"(?P<version>s3://.+?/)((replay/[^/]+/)?(folders/)?train/|manifest\.parquet)")
"""What holds the training images of a dataset version: its channel, or that of its new images and some old ones
(include/datasets/replay.py), as records or as class folders; or its table of images."""
ADDED = ("_", "sagemaker_")
"""How the names of hyperparameters begin that are not the algorithm's own."""


class Objective(BaseModel):
    """A metric, and whether more or less of it is better; `Maximize validation:accuracy` as text, in documents too."""

    model_config = ConfigDict(frozen=True)

    VALIDATION_ACCURACY: ClassVar[Objective]

    metric: str
    direction: Direction = "Maximize"

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        direction, _, metric = value.partition(" ")
        return {"direction": direction, "metric": metric} if direction in get_args(Direction) else {"metric": value}

    @model_serializer
    def __str__(self) -> str:
        return f"{self.direction} {self.metric}"

    @classmethod
    def of_job(cls, description: Mapping[str, Any]) -> Objective:
        """The objective of a described training job, or of a tuning job's definition; else the built-in algorithm's."""
        named = (description.get("Environment") or {}).get(OBJECTIVE_VARIABLE)
        return cls.model_validate(named) if named else cls.VALIDATION_ACCURACY

    @classmethod
    def of_search(cls, tuning: Mapping[str, Any]) -> Objective:
        """The objective of a described tuning job."""
        found = (tuning.get("HyperParameterTuningJobConfig") or {}).get("HyperParameterTuningJobObjective")
        return cls(metric=found["MetricName"], direction=found["Type"]) if found else cls.VALIDATION_ACCURACY

    @property
    def as_environment(self) -> dict[str, str]:
        """What a job is given so that `of_job` finds it."""
        return {OBJECTIVE_VARIABLE: str(self)}

    @property
    def superlative(self) -> str:
        """How the best value is called."""
        return "highest" if self.direction == "Maximize" else "lowest"

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a share of 0 to 1."""
        return self.metric.endswith("accuracy")

    def shown(self, value: float) -> str:
        """A value as people read it: an accuracy as a share of 100, anything else as a number."""
        return f"{value:.2%}" if self.is_accuracy else f"{value:.4g}"

    def distance(self, value: float | None) -> float:
        """A number that is the smaller the better the value is; infinite if it is unknown or not a number."""
        if value is None or math.isnan(value):
            return math.inf
        return -value if self.direction == "Maximize" else value

    def is_worse(self, value: float, other: float) -> bool:
        """Whether a value is worse than another; one that is not a number is worse than any."""
        return self.distance(value) > self.distance(other)


Objective.VALIDATION_ACCURACY = Objective(metric="validation:accuracy")


@dataclass(frozen=True)
class Script:
    """What a script's job runs: the file, and the S3 address of the archive that holds it, if the job names one."""

    entry_point: str
    archive: str | None


def script_of(description: Mapping[str, Any]) -> Script | None:
    """The script of a described training job, or of a tuning job's definition; None if it runs none."""
    sent = description.get("HyperParameters") or description.get("StaticHyperParameters") or {}
    if PROGRAM not in sent:
        return None
    code = (channel for channel in description.get("InputDataConfig") or () if channel["ChannelName"] == CODE)
    archives = [str(channel["DataSource"]["S3DataSource"]["S3Uri"]) for channel in code]
    archives.append(unquoted(sent.get(SUBMIT_DIRECTORY, "")))
    return Script(
        entry_point=unquoted(sent[PROGRAM]),
        archive=next((uri for uri in archives if uri.startswith("s3://")), None),
    )


def algorithm_kind(description: Mapping[str, Any]) -> AlgorithmKind:
    """What kind of algorithm a described training job, or a tuning job's definition, runs."""
    if script_of(description):
        return "script"
    return "container" if OBJECTIVE_VARIABLE in (description.get("Environment") or {}) else "builtin"


def unquoted(value: str) -> str:
    """A hyperparameter of a script, which is sent as JSON: a text without its quotes, anything else as it is."""
    try:
        text = json.loads(value)
    except ValueError:
        return value
    return text if isinstance(text, str) else value


class RuleStatus(BaseModel):
    """The status of one rule of SageMaker Debugger: InProgress, NoIssuesFound, IssuesFound, Error or Stopped."""

    model_config = ConfigDict(frozen=True)

    rule: str
    status: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.status}" + (f" ({self.details})" if self.details else "")


class JobResult(BaseModel):
    """A training or tuning job as it ended.

    `role` is `tuning` for a tuning job and for the training jobs it started; `hyperparameters` are those sent, as they
    were sent. `value` is that of the `objective` with the weights in the artifact, and `kept_epoch` the epoch they are
    of, counted from 1; None if unknown. `metrics` holds the last value of each metric, as AWS reports it, which may
    belong to weights that were not kept. `dataset_uri` is the dataset version it learned from, `source` the address of
    the script that ran, None if none did; `billable_seconds` are those of one machine; `rules` are those of SageMaker
    Debugger with their statuses. Of a tuning job, `best_job` is its best training job; value, metrics and the tuned
    hyperparameters are that job's. `started` and `ended` are those of a training job.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    status: str
    role: JobRole
    algorithm: AlgorithmKind = "builtin"
    objective: Objective = Objective.VALIDATION_ACCURACY
    hyperparameters: dict[str, str] = {}
    value: float | None = None
    kept_epoch: int | None = None
    metrics: dict[str, float] = {}
    artifact: str | None = None
    dataset_uri: str | None = None
    source: str | None = None
    best_job: str | None = None
    instance_type: str | None = None
    instance_count: int = 1
    started: datetime | None = None
    ended: datetime | None = None
    training_seconds: int | None = None
    billable_seconds: int | None = None
    failure_reason: str | None = None
    rules: tuple[RuleStatus, ...] = ()

    @classmethod
    def of_training_job(cls, description: Mapping[str, Any]) -> JobResult:
        """Read the answer of DescribeTrainingJob; `with_epochs` adds what the log shows."""
        script = script_of(description)
        result = cls(
            name=description["TrainingJobName"],
            status=description["TrainingJobStatus"],
            role=_role_of(description),
            algorithm=algorithm_kind(description),
            objective=Objective.of_job(description),
            hyperparameters=_sent_hyperparameters(description),
            metrics=_final_metrics(description),
            artifact=_artifact_of(description),
            dataset_uri=dataset_uri(description),
            source=script.archive if script else None,
            **_machines(description),
            started=description.get("TrainingStartTime"),
            ended=description.get("TrainingEndTime"),
            training_seconds=description.get("TrainingTimeInSeconds"),
            billable_seconds=_billable_seconds(description),
            failure_reason=description.get("FailureReason"),
            rules=rule_statuses(description),
        )
        return result.with_epochs(())

    @classmethod
    def of_tuning_job(cls, description: Mapping[str, Any]) -> JobResult:
        """Read the answer of DescribeHyperParameterTuningJob; the best job is AWS's, by the last value of each."""
        best = description.get("BestTrainingJob") or {}
        metric = best.get("FinalHyperParameterTuningJobObjectiveMetric")
        consumed = description.get("ConsumedResources") or {}
        return cls(
            name=description["HyperParameterTuningJobName"],
            status=description["HyperParameterTuningJobStatus"],
            role="tuning",
            algorithm=algorithm_kind(description.get("TrainingJobDefinition") or {}),
            objective=Objective.of_search(description),
            hyperparameters=best.get("TunedHyperParameters") or {},
            metrics={metric["MetricName"]: float(metric["Value"])} if metric else {},
            value=float(metric["Value"]) if metric else None,
            best_job=best.get("TrainingJobName"),
            billable_seconds=consumed.get("RuntimeInSeconds"),
            failure_reason=description.get("FailureReason"),
        )

    @classmethod
    def of_listed_job(cls, summary: Mapping[str, Any], definition: Mapping[str, Any]) -> JobResult:
        """Read an entry of ListTrainingJobsForHyperParameterTuningJob; `definition` is the tuning job's own.

        The listing shows no artifact, no metric but the objective, and the seconds by the clock.
        """
        metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
        seconds = _seconds_between(summary.get("TrainingStartTime"), summary.get("TrainingEndTime"))
        result = cls(
            name=summary["TrainingJobName"],
            status=summary["TrainingJobStatus"],
            role="tuning",
            algorithm=algorithm_kind(definition),
            objective=Objective.of_job(definition),
            hyperparameters=_without_added(
                {**(definition.get("StaticHyperParameters") or {}), **summary["TunedHyperParameters"]}
            ),
            metrics={metric["MetricName"]: float(metric["Value"])} if metric else {},
            dataset_uri=dataset_uri(definition),
            **_machines(definition),
            training_seconds=seconds,
            billable_seconds=None if definition.get("EnableManagedSpotTraining") else seconds,
            failure_reason=summary.get("FailureReason"),
        )
        return result.with_epochs(())

    def with_epochs(self, epochs: Sequence[EpochMetrics]) -> JobResult:
        """The same job with the objective's value of the weights it kept, from what its log shows of each epoch.

        Without epochs it is the last value that AWS reports. A job that failed left no weights.
        """
        reported = self.metrics.get(self.objective.metric)
        if self.algorithm == "builtin" and epochs and self.instance_count > 1:
            reported = None  # any machine's: all of them log the metric
        kept = weights_left(self, epochs, reported=reported, completed=self.status == "Completed")
        if kept is None or self.status == "Failed":
            return self.model_copy(update={"value": None, "kept_epoch": None})
        return self.model_copy(update={"value": kept.value, "kept_epoch": kept.epoch})

    @property
    def readable_hyperparameters(self) -> dict[str, str]:
        """The hyperparameters as people read them: the texts of a script, which is sent JSON, without their quotes."""
        if self.algorithm != "script":
            return self.hyperparameters
        return {name: unquoted(value) for name, value in self.hyperparameters.items()}

    @property
    def distance(self) -> float:
        """The smaller, the better the job's model is; infinite if its value is unknown."""
        return self.objective.distance(self.value)


class TrainedModel(Protocol):
    """What is known of a model and of how it was trained."""

    @property
    def algorithm(self) -> AlgorithmKind:
        """What trained it."""

    @property
    def objective(self) -> Objective:
        """By what it is compared."""

    @property
    def hyperparameters(self) -> dict[str, str]:
        """Those that its job was sent."""


def weights_left(
    model: TrainedModel, epochs: Sequence[EpochMetrics], *, reported: float | None, completed: bool = True
) -> KeptWeights | None:
    """The weights that the job of a model left, by its `epochs` and the value that AWS `reported` of its objective."""
    if model.algorithm == "builtin":
        return kept_weights(epochs, model.hyperparameters, reported=reported, completed=completed)
    return marked_weights(epochs, model.objective.metric, reported=reported)


def describe_training_job(sagemaker: SageMakerClient, name: str) -> JobResult:
    """The result of a training job by name."""
    return JobResult.of_training_job(sagemaker.describe_training_job(TrainingJobName=name))


def rule_statuses(description: Mapping[str, Any]) -> tuple[RuleStatus, ...]:
    """The rules of Debugger in the answer of DescribeTrainingJob, in the order of the request."""
    fields = ("DebugRuleEvaluationStatuses", "ProfilerRuleEvaluationStatuses")
    return tuple(
        RuleStatus(
            rule=rule.get("RuleConfigurationName", ""),
            status=rule.get("RuleEvaluationStatus", ""),
            details=rule.get("StatusDetails") or "",
        )
        for field in fields
        for rule in description.get(field) or ()
    )


def _role_of(description: Mapping[str, Any]) -> JobRole:
    """What part the job played, by what it was started with."""
    if description.get("TuningJobArn"):
        return "tuning"
    channels = {channel["ChannelName"] for channel in description.get("InputDataConfig") or ()}
    return "incremental" if "model" in channels else "base"


def _sent_hyperparameters(description: Mapping[str, Any]) -> dict[str, str]:
    """The job's own hyperparameters."""
    return _without_added(description.get("HyperParameters") or {})


def _without_added(sent: Mapping[str, str]) -> dict[str, str]:
    """Hyperparameters without those that SageMaker adds (`_tuning_objective_metric`) or its toolkit reads."""
    return {name: value for name, value in sent.items() if not name.startswith(ADDED)}


def _final_metrics(description: Mapping[str, Any]) -> dict[str, float]:
    """The last value of every metric of the job."""
    return {metric["MetricName"]: float(metric["Value"]) for metric in description.get("FinalMetricDataList") or ()}


def _artifact_of(description: Mapping[str, Any]) -> str | None:
    """The address of the job's model.tar.gz."""
    return (description.get("ModelArtifacts") or {}).get("S3ModelArtifacts")


def _output_bucket(description: Mapping[str, Any]) -> str | None:
    """The bucket that a training, tuning or transform job writes to; None if the description does not show it."""
    definition = description.get("TrainingJobDefinition") or description
    output = definition.get("OutputDataConfig") or definition.get("TransformOutput") or {}
    uri: str = output.get("S3OutputPath", "")
    return uri.removeprefix("s3://").partition("/")[0] or None


def is_of_installation(description: Mapping[str, Any], bucket: str) -> bool:
    """Whether a job of ours belongs to the installation with this output bucket.

    Scheduled runs of two Airflows in one account are called alike, and so are their jobs.
    """
    return _output_bucket(description) in (bucket, None)


def dataset_uri(description: Mapping[str, Any]) -> str | None:
    """The dataset version that a described job learned from, with a slash at the end; None if it is not ours."""
    for channel in description.get("InputDataConfig") or ():
        if channel["ChannelName"] in ("train", "manifest"):
            uri: str = (channel["DataSource"].get("S3DataSource") or {}).get("S3Uri", "")
            found = LEARNED_FROM.fullmatch(uri)
            return found["version"] if found else None
    return None


def _billable_seconds(description: Mapping[str, Any]) -> int | None:
    """Seconds the account pays for; less than the training's own under spot."""
    seconds = description.get("BillableTimeInSeconds", description.get("TrainingTimeInSeconds"))
    return None if seconds is None else int(seconds)


def _machines(description: Mapping[str, Any]) -> dict[str, Any]:
    resources = description.get("ResourceConfig") or {}
    return {"instance_type": resources.get("InstanceType"), "instance_count": resources.get("InstanceCount", 1)}


def _seconds_between(start: datetime | None, end: datetime | None) -> int | None:
    return None if start is None or end is None else round((end - start).total_seconds())
