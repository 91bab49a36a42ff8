"""The sections of a run conf: every field with its bounds, its default and its description."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from include.run_conf.dataset import DatasetConf
from include.run_conf.hyperparameters import Hyperparameters, IncrementalHyperparameters
from include.run_conf.ranges import Choices, Range
from include.run_conf.section import NAME_PARTS, NAME_PATTERN, Section

GPU_FAMILIES: dict[str, JsonValue] = {"made_of": "of the families p2, p3, p3dn, g4dn or g5"}
TWENTY_EIGHT_DAYS = 28 * 24 * 3600


class TrainingConf(Section):
    """How the base model comes about."""

    model_config = ConfigDict(title="Training")

    mode: Literal["train", "tune", "both"] = Field(
        "train", title="Mode", description="`train`: one job; `tune`: a tuning job; `both`: compare the two."
    )
    continue_with: Literal["best", "train", "tune"] = Field(
        "best", title="Continue with", description="Which model goes on: the `best` of all, or that of one mode."
    )
    hyperparameters: Hyperparameters = Field(Hyperparameters(), description="Hyperparameters of the algorithm.")


class ResourcesConf(Section):
    """What training runs on."""

    model_config = ConfigDict(title="Resources")

    instance_type: str = Field(
        "ml.g4dn.xlarge",
        pattern=r"^ml\.(p2|p3|p3dn|g4dn|g5)\.[0-9]*(x?large)$",
        json_schema_extra=GPU_FAMILIES,
        examples=["ml.g4dn.xlarge"],
        title="Instance type",
        description="The algorithm trains on the GPU families P2, P3, G4dn and G5.",
    )
    instance_count: int = Field(1, ge=1, le=100, title="Machines", description="More than one trains distributed.")
    volume_gb: int = Field(30, ge=1, le=16384, title="Volume (GB)", description="Disk for data and model.")
    max_runtime_seconds: int = Field(
        24 * 3600, ge=60, le=TWENTY_EIGHT_DAYS, title="Longest run (s)", description="A longer job is stopped."
    )
    spot: bool = Field(
        False, title="Spot", description="Cheaper machines that may be taken away; checkpoints are kept."
    )
    max_wait_seconds: int | None = Field(
        None,
        ge=60,
        le=TWENTY_EIGHT_DAYS,
        title="Longest wait for spot (s)",
        description="Run and waiting together. Empty: twice the longest run.",
    )

    @property
    def max_wait(self) -> int:
        """Seconds a spot job may take including the wait for machines."""
        return self.max_wait_seconds or min(2 * self.max_runtime_seconds, TWENTY_EIGHT_DAYS)


class TuningConf(Section):
    """How hyperparameters are searched."""

    model_config = ConfigDict(title="Tuning")

    strategy: Literal["Bayesian", "Random", "Hyperband", "Grid"] = Field(
        "Bayesian", title="Strategy", description="`Grid` takes lists of values only."
    )
    max_jobs: int = Field(
        4,
        ge=1,
        le=750,
        title="Jobs",
        description="Training jobs in all; `Grid` takes as many as there are combinations.",
    )
    max_parallel_jobs: int = Field(
        2, ge=1, le=100, title="Jobs at once", description="As many as all jobs makes `Bayesian` a random search."
    )
    early_stopping: bool = Field(
        False, title="Early stopping", description="Stop jobs that will not become the best. Not with `Hyperband`."
    )
    seed: int | None = Field(
        None, ge=0, le=2_147_483_647, title="Seed", description="The same seed proposes the same values."
    )
    ranges: dict[str, Range | Choices] = Field(
        {},
        title="Ranges",
        description='Hyperparameter -> `{"min": 0.001, "max": 0.1, "scaling": "Logarithmic"}` or a list of values. '
        "Empty: the ranges AWS documents.",
    )


class IncrementalConf(Section):
    """Training on from the selected model."""

    model_config = ConfigDict(title="Incremental training")

    enabled: bool = Field(True, title="Enabled", description="Continue training from the selected model.")
    hyperparameters: IncrementalHyperparameters = Field(
        IncrementalHyperparameters(), description="What differs from the base job."
    )


class PromotionConf(Section):
    """When a model is good enough."""

    model_config = ConfigDict(title="Promotion")

    minimum_accuracy: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Minimum accuracy",
        description="On the held-out images. Below it, the model is registered as pending and not deployed.",
    )


class EndpointConf(Section):
    """Where the model answers."""

    model_config = ConfigDict(title="Endpoint")

    name: str = Field(
        "",
        max_length=63,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        examples=["cats-and-dogs"],
        title="Name",
        description="Empty: the dataset's name.",
    )
    instance_type: str = Field(
        "ml.m5.large",
        pattern=r"^ml\.[a-z0-9]+\.[a-z0-9]+$",
        examples=["ml.m5.large"],
        title="Instance type",
        description="CPU or GPU.",
    )
    instance_count: int = Field(1, ge=1, le=100, title="Machines", description="Machines behind the endpoint.")
    keep: bool = Field(True, title="Keep", description="Off: the endpoint is deleted at the end of the run.")
    deploy: bool = Field(True, title="Deploy", description="Off: the run ends with the registered model.")


class RunSections(Section):
    """All sections; `RunConf` adds how they are read from what a person sent."""

    dataset: DatasetConf = Field(DatasetConf(), description="Which images, which classes, which version.")
    training: TrainingConf = Field(TrainingConf(), description="How the base model comes about.")
    resources: ResourcesConf = Field(ResourcesConf(), description="What training runs on.")
    tuning: TuningConf = Field(TuningConf(), description="How hyperparameters are searched.")
    incremental: IncrementalConf = Field(IncrementalConf(), description="Training on from the selected model.")
    promotion: PromotionConf = Field(PromotionConf(), description="When a model is good enough.")
    endpoint: EndpointConf = Field(EndpointConf(), description="Where the model answers.")
