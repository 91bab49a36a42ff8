"""The section `tuning` of a run conf: how hyperparameters are searched.

Source of the bounds: API reference of CreateHyperParameterTuningJob.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from include.run_conf.hyperparameters import Choices, Range
from include.run_conf.section import COMMA_SEPARATED, Section

LATEST = "latest"
TuningJobName = Annotated[
    str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}$", examples=["train-model-tune-0123456789"])
]
WarmStartType = Literal["IdenticalDataAndAlgorithm", "TransferLearning"]


class CompletionConf(Section):
    """When a tuning job is done before all its jobs have run; the first of these that happens ends it."""

    model_config = ConfigDict(title="Tuning: completion")

    target: float | None = Field(
        None,
        examples=[0.95],
        gt=0,
        le=1,
        title="Target",
        description="The tuning ends when a job's last epoch reaches this value of the objective.",
    )
    jobs_without_improvement: int | None = Field(
        None,
        examples=[5],
        ge=3,
        le=750,
        title="Jobs without improvement",
        description="The tuning ends after this number of jobs, one after the other, without a better one.",
    )
    converged: bool = Field(
        False,
        title="When converged",
        description="The tuning ends when SageMaker expects no more than 1 % of improvement.",
    )


class WarmStartConf(Section):
    """Earlier tuning jobs whose results the search starts with."""

    model_config = ConfigDict(title="Tuning: warm start")

    parents: list[TuningJobName] = Field(
        [],
        alias="from",
        max_length=5,
        json_schema_extra=COMMA_SEPARATED,
        title="From",
        description="Names of up to five finished tuning jobs; or `latest`: the newest of this dataset with the same "
        "objective, if there is one. Empty: the search starts from scratch.",
    )
    type: WarmStartType | None = Field(
        None,
        title="Type",
        description="`IdenticalDataAndAlgorithm` counts the earlier jobs as its own; `TransferLearning` learns where "
        "to search. Empty: the first where dataset version and container are the same.",
    )


class TuningConf(Section):
    """How hyperparameters are searched."""

    model_config = ConfigDict(title="Tuning")

    strategy: Literal["Bayesian", "Random", "Hyperband", "Grid"] = Field(
        "Bayesian", title="Strategy", description="How the next values are chosen. `Grid` takes only lists of values."
    )
    max_jobs: int = Field(
        4,
        ge=1,
        le=750,
        title="Jobs",
        description="Training jobs in all; `Grid` takes as many as there are combinations.",
    )
    max_parallel_jobs: int = Field(
        2,
        ge=1,
        le=100,
        title="Jobs at once",
        description="Training jobs at a time. If all run at once, `Bayesian` is a random search.",
    )
    max_runtime_seconds: int | None = Field(
        None,
        examples=[86_400],
        ge=120,
        le=15_768_000,
        title="Longest tuning (s)",
        description="Limit for all jobs together: then no job is started, and those that run are stopped. Empty: each "
        "job's own limit decides.",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        examples=[5],
        title="Epochs",
        description="Passes over the training records in each job; the hyperparameter `epochs` of a script or a "
        "container. Empty: as the base job.",
    )
    early_stopping: bool = Field(
        False, title="Early stopping", description="Stop jobs that will not become the best. Not with `Hyperband`."
    )
    seed: int | None = Field(
        None, examples=[1], ge=0, le=2_147_483_647, title="Seed", description="The same seed proposes the same values."
    )
    ranges: dict[str, Range | Choices] = Field(
        {},
        json_schema_extra={"entry": 'a list of values or {"min": 0.001, "max": 0.1, "scaling": "Auto"}'},
        title="Ranges",
        description='Hyperparameter -> `{"min": 0.001, "max": 0.1, "scaling": "Logarithmic"}` or a list of values. '
        "Empty: the ranges AWS documents; a script or a container has none.",
    )
    completion: CompletionConf = Field(
        CompletionConf(), description="When the search ends before all its jobs have run."
    )
    warm_start: WarmStartConf = Field(WarmStartConf(), description="Earlier tuning jobs it learns from.")

    @property
    def jobs(self) -> int:
        """Training jobs in all; a grid has as many as there are combinations."""
        return self.combinations if self.strategy == "Grid" else self.max_jobs

    @property
    def combinations(self) -> int:
        """How many combinations the lists of values have."""
        return math.prod(len(span) for span in self.ranges.values() if not isinstance(span, Range))

    @property
    def parallel_jobs(self) -> int:
        """Training jobs at once, never more than there are."""
        return min(self.max_parallel_jobs, self.jobs)
