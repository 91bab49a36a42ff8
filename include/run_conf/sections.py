"""The sections of a run conf: every field with its bounds, its default and its description."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast

from pydantic import ConfigDict, Field, create_model

from include.run_conf.algorithm import AlgorithmConf
from include.run_conf.dataset import BUCKET, DatasetConf
from include.run_conf.debugger import DebuggerConf
from include.run_conf.endpoint import EndpointConf
from include.run_conf.hyperparameters import TABLE, Job, as_text
from include.run_conf.presets import PRESETS, Preset
from include.run_conf.section import ENTRY_IS_SCALAR, HAS_TO_BE_GIVEN, NAME_PARTS, NAME_PATTERN, Known, Scalar, Section
from include.run_conf.tuning import TuningConf

BEST_OF_RUN = "best"
TWENTY_EIGHT_DAYS = 28 * 24 * 3600

Model = TypeVar("Model", bound="type[SharedHyperparameters]")


class SharedHyperparameters(Known):
    """The hyperparameters of any kind of job; a field left empty is not sent.

    Every row that the section asks for is a field. Those that code reads by name stand here for the type checker.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)

    if TYPE_CHECKING:
        epochs: int | None = None
        mini_batch_size: int | None = None
        optimizer: str | None = None
        lr_scheduler_step: str | None = None
        augmentation_type: str | None = None
        top_k: int | None = None
        checkpoint_frequency: int | None = None
        kv_store: str | None = None
        use_weighted_loss: int | None = None

    def as_strings(self) -> dict[str, str]:
        """The fields that are set, as the API takes them: every value a string."""
        return {name: as_text(value) for name, value in self.model_dump(exclude_none=True).items()}


def _with_rows(job: Job) -> Callable[[Model], Model]:
    """Give a model a field for each row that the section of a kind of job asks for."""

    def with_fields(model: Model) -> Model:
        asked = ((row, row.asked_by(job)) for row in TABLE)
        fields: dict[str, Any] = {row.name: row.field(job, how) for row, how in asked if how is not None}
        made = create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )
        return cast("Model", made)

    return with_fields


@_with_rows("base")
class Hyperparameters(SharedHyperparameters):
    """The hyperparameters of a base training job."""

    model_config = ConfigDict(title="Training: hyperparameters")

    if TYPE_CHECKING:
        num_layers: int = 18
        image_shape: str = "3,224,224"
        use_pretrained_model: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = (int(part) for part in self.image_shape.split(","))
        return channels, height, width


@_with_rows("incremental")
class IncrementalHyperparameters(SharedHyperparameters):
    """What differs from the base job; the network itself (layers, image shape, classes) is held."""

    model_config = ConfigDict(title="Incremental training: hyperparameters")


@_with_rows("trial")
class TrialHyperparameters(SharedHyperparameters):
    """What differs in a trial from the run's hyperparameters; a field left empty is as there."""

    model_config = ConfigDict(title="Trial: hyperparameters")

    if TYPE_CHECKING:
        image_shape: str | None = None
        use_pretrained_model: int | None = None


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


class ModelConf(Section):
    """Which registered model is deployed; a field of its own DAG, beside those of the run conf."""

    model_config = ConfigDict(title="Model")

    model_version: int | None = Field(
        None,
        ge=1,
        examples=[1],
        title="Model version",
        description="Number in the dataset's group of the model registry. Empty: the newest approved one.",
    )


class ReviewConf(Section):
    """What a person decides about a registered model; fields of a DAG of its own, beside the dataset's name."""

    model_config = ConfigDict(title="Review")

    model_version: int | None = Field(
        None,
        ge=1,
        examples=[1],
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Model version",
        description="Number in the dataset's group of the model registry. Required.",
    )
    decision: Literal["approve", "reject"] | None = Field(
        None,
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Decision",
        description="Whether the version may be deployed. Required.",
    )
    reason: str = Field(
        "",
        max_length=500,
        examples=["The new camera's images matter more than the old ones."],
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Reason",
        description="Kept with the version in the model registry, with your name. Required.",
    )


class PredictionConf(Section):
    """Which images a model is asked about; fields of a DAG of its own, beside those of the run conf."""

    model_config = ConfigDict(title="Prediction")

    model_of_endpoint: str = Field(
        "",
        max_length=63,
        pattern=rf"^({NAME_PATTERN[1:-1]})?$",
        json_schema_extra=NAME_PARTS,
        examples=["cats-and-dogs"],
        title="Model of an endpoint",
        description="The model that this endpoint serves. Empty: a registered one of `dataset.name`.",
    )
    model_version: int | None = Field(
        None,
        ge=1,
        examples=[1],
        title="Model version",
        description="Number in the dataset's group of the model registry, approved or not. Empty: the champion.",
    )
    source: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}(/.*)?)?$",
        examples=["s3://my-bucket/new-photos/"],
        json_schema_extra=HAS_TO_BE_GIVEN,
        title="Images",
        description="Prefix whose images are predicted, at any depth. Required.",
    )
    output: str = Field(
        "",
        pattern=rf"(?s)^({BUCKET}(/.*)?)?$",
        examples=["s3://my-bucket/predictions/"],
        title="Output",
        description="Prefix under which `predictions.parquet` is written. Empty: `s3://OUTPUT/predictions/RUN/`.",
    )
    top_k: int = Field(
        5, ge=1, le=1000, title="Classes shown", description="Number of classes in the table for each image."
    )
    threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Threshold",
        description="Lowest probability at which an image shows a class, for a model of several labels per image.",
    )


class RunSections(Section):
    """All sections; `RunConf` adds how they are read from what a person sent."""

    model_config = ConfigDict(title="Common")

    preset: Preset | None = Field(
        None,
        json_schema_extra={
            "choices": {str(name): purpose for name, purpose in PRESETS.items()},
            "unset": "no preset: the defaults",
        },
        title="Preset",
        description="Fills in what is left empty. A field that you set overrides the preset, and your own source or "
        "label tables override its dataset.",
    )
    dataset: DatasetConf = Field(DatasetConf(), description="Which images, which classes, which version.")
    training: TrainingConf = Field(TrainingConf(), description="How the base model is made.")
    resources: ResourcesConf = Field(ResourcesConf(), description="What training runs on.")
    tuning: TuningConf = Field(TuningConf(), description="How hyperparameters are searched.")
    incremental: IncrementalConf = Field(IncrementalConf(), description="Further training of the selected model.")
    evaluation: EvaluationConf = Field(EvaluationConf(), description="What a model is measured on.")
    promotion: PromotionConf = Field(PromotionConf(), description="When a model is good enough.")
    endpoint: EndpointConf = Field(EndpointConf(), description="The endpoint that serves the model.")
    retraining: RetrainingConf = Field(RetrainingConf(), description="When new images start a retraining.")

    def of_trial(self, trial: TrialConf) -> Self:
        """This run with one trial as its base job: its hyperparameters over those of the run, its dataset version.

        A trial that names a dataset without a version has an empty `dataset.version`, which stands for the newest.
        """
        training = self.training
        changed = training.hyperparameters.model_copy(update=trial.hyperparameters.model_dump(exclude_none=True))
        free = {**training.algorithm.hyperparameters, **trial.algorithm_hyperparameters}
        algorithm = training.algorithm.model_copy(update={"hyperparameters": free})
        training = training.model_copy(update={"hyperparameters": changed, "algorithm": algorithm, "trials": []})
        named = {"name": trial.dataset_name, "version": trial.dataset_version} if trial.dataset else {}
        return self.model_copy(update={"training": training, "dataset": self.dataset.model_copy(update=named)})
