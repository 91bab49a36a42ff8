"""The hyperparameters of SageMaker's image classification, a row for each: whoever adds one adds a row.

From the rows follow the fields of the run conf and of the trigger form, what is accepted, the reference page, the
names in use elsewhere, which optimizer ignores what, and the ranges of a tuning job. Those that follow from the
dataset version (`DERIVED`) have no row. The sections that are made of the rows are below them.

Source: the SageMaker developer guide, "Image Classification Hyperparameters", "Tune an Image Classification Model" and
"Incremental Training".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from include.run_conf.fields import COMMA_SEPARATED, Known

SMALL_IMAGE_LAYERS = (20, 32, 44, 56, 110)
IMAGENET_LAYERS = (18, 34, 50, 101, 152, 200)
SMALL_IMAGE_SIDE = 28
DERIVED = ("num_classes", "num_training_samples", "multi_label")
"""What follows from the dataset version and is never asked."""
AS_BASE_JOB = "as in the base job"
AS_RUN = "as in the run"
OPTIMIZERS = ("sgd", "adam", "rmsprop", "nag")

Value = str | int | float
Choices = list[Value]
"""Values to choose from, as one writes them in the conf."""
ScalingType = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]
Job = Literal["base", "incremental", "trial"]
"""Whose hyperparameters a section of the run conf holds: a job from scratch, one that trains further, a trial."""


Model = TypeVar("Model", bound="type[SharedHyperparameters]")


class Range(BaseModel):
    """Bounds of a numeric hyperparameter, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value.")
    scaling: ScalingType = Field("Auto", description="Scale on which values are drawn.")
    kind: Literal["integer", "continuous"] | None = Field(
        None,
        description="For a hyperparameter of a script or container. Else the kind follows from its value without "
        "a search.",
    )


@dataclass(frozen=True)
class Values:
    """The values that a hyperparameter takes: some choices, or all of a type between bounds, or of a pattern."""

    type: type[Value]
    least: int | None = None
    most: int | None = None
    choices: tuple[Value, ...] = ()
    pattern: str | None = None

    @property
    def annotation(self) -> Any:
        """The values as pydantic checks them."""
        if self.choices:
            return Literal.__getitem__(self.choices)
        return Annotated[self.type, Field(ge=self.least, le=self.most, pattern=self.pattern)]


@dataclass(frozen=True)
class Asked:
    """How one section of the run conf asks for a hyperparameter.

    `default` is what a conf that does not name it means, None for nothing, which is not sent; `description` replaces
    the row's; without `may_be_empty` there is always a value.
    """

    default: Value | None = None
    description: str = ""
    may_be_empty: bool = True


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """A hyperparameter: what a person may ask for, and what the algorithm and a tuning job do with it.

    `default` is what the algorithm does without it, `read_by` are the optimizers that read it if others ignore it; in
    a description `{optimizers}` stands for these. An incremental training has its own value (`asked`),
    its base job's (`held`), or none (`dropped`).
    """

    name: str
    title: str
    description: str
    values: Values
    comma_separated: bool = False
    examples: tuple[Value, ...] = ()
    default: Value | None = None
    read_by: tuple[str, ...] = ()
    tuned: Range | Choices | None = None
    """What a tuning job may vary, and does unless the run conf says otherwise; None for what cannot be tuned."""
    incremental_training: Literal["asked", "held", "dropped"] = "asked"
    base: Asked = Asked()
    incremental: Asked = Asked()
    trial: Asked = Asked()
    other_names: str = ""
    """What it is called in Keras, PyTorch, timm, Hugging Face, fastai, Ultralytics."""

    def asked_by(self, job: Job) -> Asked | None:
        """How the section of a kind of job asks for it; None if it does not."""
        if job == "incremental":
            return self.incremental if self.incremental_training == "asked" else None
        return self.base if job == "base" else self.trial

    def is_read_by(self, optimizer: str) -> bool:
        """Whether it changes anything with an optimizer."""
        return not self.read_by or optimizer in self.read_by

    def field(self, job: Job, asked: Asked) -> tuple[Any, Any]:
        """The annotation of a section's field, and what pydantic knows of it."""
        annotation = self.values.annotation
        optimizers = " and ".join(f"`{optimizer}`" for optimizer in self.read_by)
        extra: dict[str, JsonValue] = {**COMMA_SEPARATED} if self.comma_separated else {}
        if asked.may_be_empty:
            extra["unset"] = self._unset(job)
        info = Field(
            asked.default,
            title=self.title,
            description=(asked.description or self.description).format(optimizers=optimizers),
            examples=[*self.examples] or None,
            json_schema_extra=extra,
        )
        return annotation | None if asked.may_be_empty else annotation, info

    def _unset(self, job: Job) -> str:
        """What a job does with a field that is left empty."""
        if job != "base":
            return AS_BASE_JOB if job == "incremental" else AS_RUN
        if self.default is None:
            return "not used"
        shown = {True: "on", False: "off"}.get(self.default) if isinstance(self.default, bool) else self.default
        return f"algorithm's default ({str(shown).replace('e-0', 'e-')})"


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


FRACTION = Values(float, least=0, most=1)
COUNT = Values(int, least=1)
SWITCH = Values(int, choices=(0, 1))

TABLE: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        name="num_layers",
        title="Layers",
        description=f"Depth of the residual network: {_listed(SMALL_IMAGE_LAYERS)} for images up to {SMALL_IMAGE_SIDE} "
        f"pixels high, {_listed(IMAGENET_LAYERS)} above.",
        values=Values(int, choices=tuple(sorted(SMALL_IMAGE_LAYERS + IMAGENET_LAYERS))),
        default=152,
        incremental_training="held",
        base=Asked(18, may_be_empty=False),
        trial=Asked(description="Depth of the residual network."),
        other_names="layers n_layers depth resnet_depth resnet model_depth network_depth layer_count",
    ),
    Hyperparameter(
        name="image_shape",
        title="Image shape",
        description="Channels, height, width. No packed image may be smaller.",
        values=Values(str, pattern=r"^[1-9][0-9]{0,4}(,[1-9][0-9]{0,4}){2}$"),
        comma_separated=True,
        examples=("3,224,224",),
        default="3,224,224",
        incremental_training="held",
        base=Asked("3,224,224", may_be_empty=False),
        trial=Asked(description="Channels, height, width."),
        other_names="image_size img_size imgsz im_size input_shape input_size img_shape target_size data_shape shape "
        "resolution image_dim image_dimensions",
    ),
    Hyperparameter(
        name="use_pretrained_model",
        title="Start from ImageNet weights",
        description=f"`1`: transfer learning, for {_listed(IMAGENET_LAYERS[:-1])} or {IMAGENET_LAYERS[-1]} layers.",
        values=SWITCH,
        default=0,
        incremental_training="dropped",
        trial=Asked(description="`1`: transfer learning."),
        other_names="pretrained use_pretrained imagenet weights pretrained_weights transfer_learning use_imagenet "
        "fine_tune",
    ),
    Hyperparameter(
        name="epochs",
        title="Epochs",
        description="Passes over the training records.",
        values=COUNT,
        default=30,
        incremental=Asked(2, may_be_empty=False),
        other_names="epoch n_epochs num_epochs n_epoch nb_epoch max_epochs num_train_epochs number_of_epochs "
        "training_epochs passes",
    ),
    Hyperparameter(
        name="mini_batch_size",
        title="Mini batch size",
        description="Images per step, split over the GPUs of a machine. Neither channel may have fewer records.",
        values=COUNT,
        default=32,
        tuned=Range(min=8, max=512),
        other_names="batch_size batch bs batchsz train_batch_size per_device_train_batch_size minibatch "
        "images_per_batch",
    ),
    Hyperparameter(
        name="learning_rate",
        title="Learning rate",
        description="Initial learning rate.",
        values=FRACTION,
        examples=(0.1, 0.01, 0.001),
        default=0.1,
        tuned=Range(min=1e-6, max=0.5),
        incremental=Asked(0.01, "Smaller than the base job's: it starts from that job's model.", may_be_empty=False),
        other_names="lr lr0 base_lr init_lr initial_lr learn_rate initial_learning_rate eta alpha step_size",
    ),
    Hyperparameter(
        name="optimizer",
        title="Optimizer",
        description="How weights are updated.",
        values=Values(str, choices=OPTIMIZERS),
        default="sgd",
        tuned=[*OPTIMIZERS],
        other_names="opt optim optimiser optimizer_type optimizer_name solver",
    ),
    Hyperparameter(
        name="momentum",
        title="Momentum",
        description="Momentum of {optimizers}.",
        values=FRACTION,
        examples=(0.9,),
        default=0.9,
        read_by=("sgd", "nag"),
        tuned=Range(min=0.0, max=0.999),
        other_names="mom sgd_momentum",
    ),
    Hyperparameter(
        name="weight_decay",
        title="Weight decay",
        description="Weight decay of {optimizers}.",
        values=FRACTION,
        examples=(0.0001,),
        default=0.0001,
        read_by=("sgd", "nag"),
        tuned=Range(min=0.0, max=0.999),
        other_names="wd decay l2 l2_regularization l2_reg weight_decay_rate",
    ),
    Hyperparameter(
        name="beta_1",
        title="Beta 1",
        description="Decay of the first moment of {optimizers}.",
        values=FRACTION,
        examples=(0.9,),
        default=0.9,
        read_by=("adam",),
        tuned=Range(min=1e-6, max=0.999),
        other_names="beta1 adam_beta1 adam_beta_1",
    ),
    Hyperparameter(
        name="beta_2",
        title="Beta 2",
        description="Decay of the second moment of {optimizers}.",
        values=FRACTION,
        examples=(0.999,),
        default=0.999,
        read_by=("adam",),
        tuned=Range(min=1e-6, max=0.999),
        other_names="beta2 adam_beta2 adam_beta_2",
    ),
    Hyperparameter(
        name="eps",
        title="Epsilon",
        description="Small number that keeps {optimizers} from dividing by zero.",
        values=FRACTION,
        examples=(1e-8,),
        default=1e-8,
        read_by=("adam", "rmsprop"),
        tuned=Range(min=1e-8, max=1.0),
        other_names="epsilon adam_epsilon adam_eps",
    ),
    Hyperparameter(
        name="gamma",
        title="Gamma",
        description="Decay of {optimizers}.",
        values=FRACTION,
        examples=(0.9,),
        default=0.9,
        read_by=("rmsprop",),
        tuned=Range(min=1e-8, max=0.999),
        other_names="rho rmsprop_decay",
    ),
    Hyperparameter(
        name="lr_scheduler_factor",
        title="Learning rate factor",
        description="The learning rate is multiplied by this at each step.",
        values=FRACTION,
        examples=(0.1, 0.5),
        default=0.1,
        other_names="lr_factor lr_decay lr_decay_rate lr_gamma step_gamma decay_rate factor",
    ),
    Hyperparameter(
        name="lr_scheduler_step",
        title="Learning rate steps",
        description="Epochs at which the rate drops, separated by commas, such as `10,20`.",
        values=Values(str, pattern=r"^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$"),
        comma_separated=True,
        examples=("10,20",),
        other_names="lr_step lr_steps lr_step_epochs milestones lr_milestones decay_steps steps",
    ),
    Hyperparameter(
        name="augmentation_type",
        title="Augmentation",
        description="`crop`: random crop and flip; `crop_color`: also hue, saturation, lightness; "
        "`crop_color_transform`: also rotation, shear, aspect. Empty: none.",
        values=Values(str, choices=("crop", "crop_color", "crop_color_transform")),
        other_names="augmentation augment data_augmentation augmentations augmix aug",
    ),
    Hyperparameter(
        name="top_k",
        title="Top k",
        description="Also report the accuracy among the k most probable classes.",
        values=Values(int, least=2),
        examples=(5,),
        other_names="topk k top5",
    ),
    Hyperparameter(
        name="early_stopping",
        title="Early stopping",
        description="Stop when the validation accuracy no longer rises.",
        values=Values(bool),
        default=False,
        other_names="early_stop early_stopping_enabled",
    ),
    Hyperparameter(
        name="early_stopping_min_epochs",
        title="Early stopping: first epochs",
        description="Epochs before a training may stop.",
        values=COUNT,
        examples=(10,),
        default=10,
    ),
    Hyperparameter(
        name="early_stopping_patience",
        title="Early stopping: patience",
        description="Epochs to wait for an improvement.",
        values=COUNT,
        examples=(5,),
        default=5,
        other_names="patience early_stop_patience es_patience n_iter_no_change",
    ),
    Hyperparameter(
        name="early_stopping_tolerance",
        title="Early stopping: tolerance",
        description="Smallest relative improvement that counts.",
        values=FRACTION,
        examples=(0.0, 0.01),
        default=0.0,
        other_names="min_delta tol tolerance early_stop_tolerance",
    ),
    Hyperparameter(
        name="checkpoint_frequency",
        title="Checkpoint frequency",
        description="Epochs between saved models, at most `epochs`. Empty: the best validation epoch is saved.",
        values=COUNT,
        examples=(1,),
        other_names="checkpoint_freq save_freq save_period save_every checkpoint_every checkpoint_interval",
    ),
    Hyperparameter(
        name="kv_store",
        title="Weight updates",
        description="How several machines share their updates; needs `resources.instance_count` above 1.",
        values=Values(str, choices=("dist_sync", "dist_async")),
    ),
    Hyperparameter(
        name="precision_dtype",
        title="Precision",
        description="`float16` needs a GPU.",
        values=Values(str, choices=("float32", "float16")),
        default="float32",
        other_names="precision dtype fp16 amp mixed_precision half",
    ),
    Hyperparameter(
        name="use_weighted_loss",
        title="Weighted loss",
        description="Weighted cross-entropy, for multi-label datasets only.",
        values=SWITCH,
        default=0,
        other_names="weighted_loss class_weight class_weights pos_weight",
    ),
)
BY_NAME = {row.name: row for row in TABLE}
TUNABLE = {row.name: row for row in sorted(TABLE, key=lambda row: row.name) if row.tuned is not None}


def algorithm_default(name: str) -> str:
    """What the algorithm does if a hyperparameter is not sent, as the API writes it."""
    return as_text(BY_NAME[name].default)


def as_text(value: object) -> str:
    """A hyperparameter as AWS writes it: `True`, `0.001`, `3,28,28`."""
    return repr(value) if isinstance(value, float) else str(value)


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
