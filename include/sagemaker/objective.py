"""By what the models of training jobs are compared, and how a later task reads it from the job itself."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

Direction = Literal["Maximize", "Minimize"]
AlgorithmKind = Literal["builtin", "script", "container"]
"""AWS's image classification, a script in one of AWS's framework containers, or a container of your own."""

VARIABLE = "IMAGE_CLASSIFICATION_OBJECTIVE"
"""The variable in the environment of a job that is not the built-in algorithm's."""
PROGRAM = "sagemaker_program"
"""The hyperparameter by which a script's job is recognized."""
SUBMIT_DIRECTORY = "sagemaker_submit_directory"
"""The hyperparameter that holds the address of the script's archive."""
CODE = "code"
"""The channel that brings the script's archive to a container without a network."""


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
        named = (description.get("Environment") or {}).get(VARIABLE)
        return cls.model_validate(named) if named else cls.VALIDATION_ACCURACY

    @classmethod
    def of_search(cls, tuning: Mapping[str, Any]) -> Objective:
        """The objective of a described tuning job."""
        found = (tuning.get("HyperParameterTuningJobConfig") or {}).get("HyperParameterTuningJobObjective")
        return cls(metric=found["MetricName"], direction=found["Type"]) if found else cls.VALIDATION_ACCURACY

    @property
    def as_environment(self) -> dict[str, str]:
        """What a job is given so that `of_job` finds it."""
        return {VARIABLE: str(self)}

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
    return "container" if VARIABLE in (description.get("Environment") or {}) else "builtin"


def unquoted(value: str) -> str:
    """A hyperparameter of a script, which is sent as JSON: a text without its quotes, anything else as it is."""
    try:
        text = json.loads(value)
    except ValueError:
        return value
    return text if isinstance(text, str) else value
