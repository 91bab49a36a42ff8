"""The sections of a run conf: every field with its bounds, its default and its description.

The sections with rules of their own stand in `dataset`, `algorithm`, `debugger` and `endpoint`, the hyperparameters of
the built-in algorithm in `hyperparameters`.

Source of the bounds of tuning: API reference of CreateHyperParameterTuningJob.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from include.run_conf.algorithm import AlgorithmConf
from include.run_conf.dataset import BUCKET
from include.run_conf.debugger import DebuggerConf
from include.run_conf.fields import (
    COMMA_SEPARATED,
    ENTRY_IS_SCALAR,
    NAME_PARTS,
    NAME_PATTERN,
    Scalar,
    Section,
)
from include.run_conf.hyperparameters import (
    Choices,
    Hyperparameters,
    IncrementalHyperparameters,
    Range,
    TrialHyperparameters,
)

LATEST = "latest"
TuningJobName = Annotated[
    str, Field(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,31}$", examples=["train-model-tune-0123456789"])
]
WarmStartType = Literal["IdenticalDataAndAlgorithm", "TransferLearning"]


BEST_OF_RUN = "best"
TWENTY_EIGHT_DAYS = 28 * 24 * 3600


class TrialConf(Section):
    """One base job among several; what it does not say is as in the rest of the run conf."""

    model_config = ConfigDict(title="Trial")

    name: str = Field(
        "",
        max_length=40,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        examples=["deep"],
        title="Name",
        description="Name of the trial in reports. Each has its own.",
    )
    dataset: str = Field(
        "",
        pattern=rf"^({NAME_PATTERN[1:-1]}(/[a-zA-Z0-9-]+)?)?$",
        examples=["pets", "pets/20260102T030405Z-0a1b2c3d"],
        title="Dataset",
        description="Finished version that it learns from: `NAME/VERSION` or `NAME` for the newest. Empty: the run's.",
    )
    hyperparameters: TrialHyperparameters = Field(
        TrialHyperparameters(), description="Values that differ from the run's."
    )
    algorithm_hyperparameters: dict[str, Scalar] = Field(
        {},
        json_schema_extra=ENTRY_IS_SCALAR,
        title="Hyperparameters",
        description="Values that differ from those of the run's script or container.",
    )

    @property
    def dataset_name(self) -> str:
        """The name of the dataset it learns from, empty for the run's."""
        return self.dataset.partition("/")[0]

    @property
    def dataset_version(self) -> str:
        """The version it learns from, empty for the newest of its dataset, and for the run's."""
        return self.dataset.partition("/")[2]


class TrainingConf(Section):
    """How the base model is made."""

    model_config = ConfigDict(title="Training")

    mode: Literal["train", "tune", "both", "tune_then_train", "none"] = Field(
        "train",
        title="Mode",
        description="`train`: one job, or one for each trial; `tune`: a tuning job; `both`: compare the two; "
        "`tune_then_train`: the best hyperparameters of a tuning job train one full job; `none`: no job from scratch, "
        "the model of `incremental.from` is trained further.",
    )
    continue_with: Literal["best", "train", "tune"] = Field(
        "best", title="Continue with", description="Which model is selected: the `best` of all, or that of one mode."
    )
    trials: list[TrialConf] = Field(
        [],
        title="Trials",
        description='Base jobs to train side by side; the best is selected: `[{"name": "deep", "hyperparameters": '
        '{"num_layers": 50}, "dataset": "NAME/VERSION"}]`, where a trial names only what differs. Empty: one base job.',
    )
    algorithm: AlgorithmConf = Field(AlgorithmConf(), description="Which code trains.")
    hyperparameters: Hyperparameters = Field(
        Hyperparameters(), description="Hyperparameters of the built-in algorithm."
    )
    debugger: DebuggerConf = Field(DebuggerConf(), description="What SageMaker Debugger watches.")

    @property
    def tunes(self) -> bool:
        """Whether a tuning job runs."""
        return self.mode in ("tune", "both", "tune_then_train")


class ResourcesConf(Section):
    """What training runs on."""

    model_config = ConfigDict(title="Resources")

    instance_type: str = Field(
        "ml.g4dn.xlarge",
        pattern=r"^ml\.[a-z0-9-]+\.([0-9]*x?large|medium|metal)$",
        examples=["ml.g4dn.xlarge"],
        title="Instance type",
        description="The built-in algorithm trains on the GPU families P2, P3, G4dn and G5; a script or a container on "
        "any.",
    )
    instance_count: int = Field(
        1, ge=1, le=100, title="Machines", description="Number of machines of a training job. Several train together."
    )
    volume_gb: int = Field(30, ge=1, le=16384, title="Volume (GB)", description="Disk for data and model.")
    max_runtime_seconds: int = Field(
        24 * 3600, ge=60, le=TWENTY_EIGHT_DAYS, title="Longest run (s)", description="A longer job is stopped."
    )
    spot: bool = Field(
        False, title="Spot", description="Use cheaper machines that AWS may take back; checkpoints are kept."
    )
    max_wait_seconds: int | None = Field(
        None,
        examples=[172_800],
        ge=60,
        le=TWENTY_EIGHT_DAYS,
        title="Longest wait for spot (s)",
        description="Longest time of a spot job, running and waiting together. Empty: twice the longest run.",
    )
    max_cost: float | None = Field(
        None,
        examples=[20, 100],
        gt=0,
        allow_inf_nan=False,
        title="Highest cost (USD)",
        description="The run is refused if its jobs could cost more (USD), each at its longest run. Empty: no limit.",
    )

    @property
    def max_wait(self) -> int:
        """Seconds a spot job may take including the wait for machines."""
        return self.max_wait_seconds or min(2 * self.max_runtime_seconds, TWENTY_EIGHT_DAYS)


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


class IncrementalConf(Section):
    """Further training of the selected model."""

    model_config = ConfigDict(title="Incremental training")

    enabled: bool = Field(True, title="Enabled", description="Train the selected model further.")
    start: str = Field(
        BEST_OF_RUN,
        alias="from",
        pattern=rf"^(\d{{1,9}}|[a-zA-Z0-9](-*[a-zA-Z0-9]){{0,62}}|{BUCKET}/.+\.tar\.gz)$",
        examples=["best", "champion", "7", "my-training-job", "s3://my-models/jobs/my-job/output/model.tar.gz"],
        title="From",
        description="The model that is trained further. `best`: the best of this run. With `training.mode: none` an "
        "earlier one: `champion`, the number of a registered version, a training job, or the address of a "
        "`model.tar.gz`.",
    )
    replay: float = Field(
        1.0,
        ge=0,
        le=1,
        title="Replay",
        description="Share of the earlier images that each epoch sees again, beside all new ones; the same for "
        "each class. With 0 the model may forget them.",
    )
    algorithm_hyperparameters: dict[str, Scalar] = Field(
        {},
        json_schema_extra=ENTRY_IS_SCALAR,
        title="Hyperparameters",
        description='Values that differ from the base job of a script or a container: `{"epochs": 3, "lr": 0.001}`.',
    )
    hyperparameters: IncrementalHyperparameters = Field(
        IncrementalHyperparameters(), description="Values that differ from the base job of the built-in algorithm."
    )


class SampleConf(Section):
    """On how many test images an endpoint is measured."""

    model_config = ConfigDict(title="Evaluation: sample")

    images: int | None = Field(
        None,
        ge=1,
        examples=[30, 1000],
        title="Images",
        description="Number of test images, drawn by chance, on which an endpoint is measured. Empty: "
        "`evaluate_endpoint` sends "
        "all, and a run that has deployed a model at most 1,000.",
    )
    seed: int = Field(0, ge=0, title="Seed", description="The same seed draws the same images.")


class EvaluationConf(Section):
    """What a model is measured on."""

    model_config = ConfigDict(title="Evaluation")

    images: Literal["packed", "source"] = Field(
        "packed",
        title="Images",
        description="`packed`: the test images as they are packed, which `predict` sends too. `source`: their source "
        "objects as they are, to measure the answers to a client that does not pack its images.",
    )
    sample: SampleConf = Field(SampleConf(), description="On how many test images an endpoint is measured.")


class PromotionConf(Section):
    """When a model is good enough."""

    model_config = ConfigDict(title="Promotion")

    compare: Literal["not_worse", "better", "off"] = Field(
        "not_worse",
        title="Compare",
        description="How a model is compared with the champion, on the same held-out images. `not_worse`: not "
        "significantly worse, and not more than the margin below; `better`: significantly better; "
        "`off`: not at all.",
    )
    margin: float = Field(
        0.01,
        ge=0,
        le=1,
        title="Margin",
        description="How far below the champion the accuracy of a model may be, on all images and on those from "
        "before: 0.01 is one point of 100.",
    )
    minimum_accuracy: float | None = Field(
        None,
        ge=0,
        le=1,
        examples=[0.9],
        title="Minimum accuracy",
        description="Accuracy that a model needs on the held-out images. Below it, the model is registered as "
        "pending and not deployed. Empty: the model has to be clearly better than guessing.",
    )
    approval: Literal["automatic", "person"] = Field(
        "automatic",
        title="Approval",
        description="Who approves a model that is not refused. `person`: the run waits until a person approves "
        "or rejects it in Airflow, under Required Actions.",
    )
    approval_hours: float = Field(
        24.0,
        gt=0,
        le=28 * 24,
        title="Wait for approval (h)",
        description="How long the run waits for an answer. Without one, the model stays pending and is not deployed.",
    )
    allow_label_change: bool = Field(
        False,
        title="Allow other classes",
        description="A model with other classes than the dataset's champion may replace it. Off: such a run is refused "
        "before it trains; if it does not deploy, its model is registered as pending.",
    )


class RetrainingConf(Section):
    """When new images are worth a retraining; of use to the retrainings of the model that a run trains."""

    model_config = ConfigDict(title="Retraining")

    min_new_images: int = Field(
        1, ge=1, title="New images", description="Number of new images that start a retraining. Fewer wait for more."
    )
    new_classes: Literal["report", "train"] = Field(
        "report",
        title="New classes",
        description="Classes that are new in the source: `report` names them in the log; `train` starts a "
        "full training with them, once for each set of classes, whose model waits for a person.",
    )
    deadline_hours: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        examples=[6, 12],
        title="Deadline (h)",
        description="Hours after which a retraining that has not ended is reported through the setting `notify`, "
        "by the next hourly run. Empty: never.",
    )
