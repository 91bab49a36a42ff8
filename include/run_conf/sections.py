"""The sections of a run conf: every field with its bounds, its default and its description."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from include.run_conf.hyperparameters import Hyperparameters, IncrementalHyperparameters
from include.run_conf.ranges import Choices, Range

NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
NAME_PARTS: dict[str, JsonValue] = {"made_of": "of letters, digits and hyphens between them"}
GPU_FAMILIES: dict[str, JsonValue] = {"made_of": "of the families p2, p3, p3dn, g4dn or g5"}
TWENTY_EIGHT_DAYS = 28 * 24 * 3600

SourceLayout = Literal["class_folders", "split_folders"]


class Section(BaseModel):
    """Refuses unknown keys and never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class SplitConf(Section):
    """How images are shared out; an image keeps its split for ever."""

    model_config = ConfigDict(title="Dataset: split")

    train: float = Field(0.8, gt=0, lt=1, title="Train", description="Share of the images the model learns from.")
    validation: float = Field(0.1, gt=0, lt=1, title="Validation", description="Share that chooses the best model.")
    test: float = Field(0.1, gt=0, lt=1, title="Test", description="Share held out to measure the model at the end.")
    seed: int = Field(0, ge=0, title="Seed", description="Another seed gives another split of a new dataset.")
    train_per_class: int | None = Field(
        None,
        ge=1,
        title="Training images per class",
        description="So many images of each class train; validation and test share the rest in their proportion. "
        "Empty: the shares decide.",
    )
    test_as: Literal["test", "validation"] = Field(
        "test",
        title="The source's test images",
        description="Of a source that is split already. `validation`: they choose the best model, and the test images "
        "are drawn from the training images.",
    )


class PackingConf(Section):
    """How an image becomes a record; the same meaning as im2rec's options."""

    model_config = ConfigDict(title="Dataset: packing")

    resize: int | None = Field(
        None, ge=1, title="Resize", description="Length of the shorter side in pixels. Empty: keep the size."
    )
    quality: int = Field(
        95, ge=1, le=100, title="Quality", description="JPEG quality; for PNG the compression, up to 9."
    )
    encoding: Literal["jpg", "png"] = Field("jpg", title="Encoding", description="Format of the packed images.")
    center_crop: bool = Field(False, title="Centre crop", description="Cut the middle square out before resizing.")
    pass_through: bool = Field(
        False, title="Pass through", description="Pack each image as it is: not resized, not encoded again."
    )
    shard_images: int = Field(
        2000, ge=1, title="Images per shard", description="How many images one mapped task packs."
    )


class DatasetConf(Section):
    """Which images, which classes, which version."""

    model_config = ConfigDict(title="Dataset")

    name: str = Field(
        "digits",
        min_length=1,
        max_length=40,
        pattern=NAME_PATTERN,
        json_schema_extra=NAME_PARTS,
        examples=["cats-and-dogs"],
        title="Name",
        description="Versions, registered models and the endpoint of a dataset go by this name.",
    )
    source: str = Field(
        "",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?)?$",
        examples=["s3://bucket/prefix/"],
        title="Source",
        description="`s3://bucket/prefix/` of the images. Empty: `images/` in the data bucket.",
    )
    layout: SourceLayout = Field(
        "class_folders",
        title="Layout",
        description="What lies under the source. `class_folders`: a folder for each class; `split_folders`: `train`, "
        "`validation` and `test` with class folders in each.",
    )
    label_table: str = Field(
        "",
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+)?$",
        examples=["s3://bucket/labels.csv"],
        title="Label table",
        description="CSV, Parquet or JSON Lines with a row for each image: `path`, then `label` or a 0/1 column for "
        "each class, and `split` where it is given. Empty: folders are the labels.",
    )
    labels: list[str] = Field(
        [],
        title="Labels",
        description="Classes in class order, a line each. Empty: all, folders sorted, columns as they stand.",
    )
    multi_label: bool = Field(
        False, title="Multi-label", description="An image may belong to several classes: needs a label table."
    )
    max_bad_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        title="Bad images allowed",
        description="Share of unreadable images above which no version is published.",
    )
    version: str = Field(
        "", title="Version", description="A finished version to use instead of building one. Empty: build one."
    )
    split: SplitConf = Field(SplitConf(), description="How images are shared out.")
    packing: PackingConf = Field(PackingConf(), description="How an image becomes a record.")

    def source_uri(self, data_bucket: str) -> str:
        """Where the images are: `source`, or `images/` in the data bucket; always with a slash at the end."""
        source = self.source or f"s3://{data_bucket}/images/"
        return source if source.endswith("/") else f"{source}/"


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
