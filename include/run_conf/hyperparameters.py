"""The hyperparameters of SageMaker's image classification, with the ranges AWS documents.

Source: the SageMaker developer guide, "Image Classification Hyperparameters" and "Tune an Image Classification Model".
`num_classes`, `num_training_samples` and `multi_label` are missing on purpose: they follow from the dataset version.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from include.run_conf.section import Known

SMALL_IMAGE_LAYERS = (20, 32, 44, 56, 110)
IMAGENET_LAYERS = (18, 34, 50, 101, 152, 200)
SMALL_IMAGE_SIDE = 28
IMAGE_SHAPE_PATTERN = r"^[1-9][0-9]{0,4}(,[1-9][0-9]{0,4}){2}$"
COMMA_SEPARATED: dict[str, JsonValue] = {"comma_separated": True}

NumLayers = Literal[18, 20, 32, 34, 44, 50, 56, 101, 110, 152, 200]
Optimizer = Literal["sgd", "adam", "rmsprop", "nag"]
Switch = Literal[0, 1]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class SharedHyperparameters(Known):
    """What an incremental training may change against its base job; a field left empty is not sent."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)

    epochs: Count | None = Field(None, title="Epochs", description="Passes over the training records.")
    mini_batch_size: Count | None = Field(
        None,
        title="Mini batch size",
        description="Images per step, split over the GPUs of a machine. Neither channel may hold fewer records.",
    )
    learning_rate: Fraction | None = Field(
        None,
        examples=[0.1, 0.01, 0.001],
        title="Learning rate",
        description="Initial learning rate. The algorithm's default is `0.1`.",
    )
    optimizer: Optimizer | None = Field(
        None, title="Optimizer", description="How weights are updated. The algorithm's default is `sgd`."
    )
    momentum: Fraction | None = Field(
        None, examples=[0.9], title="Momentum", description="For `sgd` and `nag`. The algorithm's default is `0.9`."
    )
    weight_decay: Fraction | None = Field(
        None,
        examples=[0.0001],
        title="Weight decay",
        description="For `sgd` and `nag`. The algorithm's default is `0.0001`.",
    )
    beta_1: Fraction | None = Field(
        None,
        examples=[0.9],
        title="Beta 1",
        description="First moment's decay of `adam`. The algorithm's default is `0.9`.",
    )
    beta_2: Fraction | None = Field(
        None,
        examples=[0.999],
        title="Beta 2",
        description="Second moment's decay of `adam`. The algorithm's default is `0.999`.",
    )
    eps: Fraction | None = Field(
        None,
        examples=[1e-8],
        title="Epsilon",
        description="For `adam` and `rmsprop`. The algorithm's default is `1e-8`.",
    )
    gamma: Fraction | None = Field(
        None, examples=[0.9], title="Gamma", description="Decay of `rmsprop`. The algorithm's default is `0.9`."
    )
    lr_scheduler_factor: Fraction | None = Field(
        None,
        examples=[0.1, 0.5],
        title="Learning rate factor",
        description="What the learning rate is multiplied with at each step. The algorithm's default is `0.1`.",
    )
    lr_scheduler_step: str | None = Field(
        None,
        title="Learning rate steps",
        description="Epochs at which the rate drops, separated by commas, such as `10,20`.",
        examples=["10,20"],
        pattern=r"^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*$",
        json_schema_extra=COMMA_SEPARATED,
    )
    augmentation_type: Literal["crop", "crop_color", "crop_color_transform"] | None = Field(
        None,
        title="Augmentation",
        description="`crop`: random crop and flip; `crop_color`: also hue, saturation, lightness; "
        "`crop_color_transform`: also rotation, shear, aspect. Empty: none.",
    )
    top_k: int | None = Field(
        None,
        examples=[5],
        ge=2,
        title="Top k",
        description="Also report the accuracy among the k most probable classes.",
    )
    early_stopping: bool | None = Field(
        None, title="Early stopping", description="Stop when the validation accuracy no longer rises."
    )
    early_stopping_min_epochs: Count | None = Field(
        None,
        examples=[10],
        title="Early stopping: first epochs",
        description="Epochs before it may stop. Default `10`.",
    )
    early_stopping_patience: Count | None = Field(
        None,
        examples=[5],
        title="Early stopping: patience",
        description="Epochs to wait for an improvement. Default `5`.",
    )
    early_stopping_tolerance: Fraction | None = Field(
        None,
        examples=[0.0, 0.01],
        title="Early stopping: tolerance",
        description="Relative improvement that counts. Default `0.0`.",
    )
    checkpoint_frequency: Count | None = Field(
        None,
        examples=[1],
        title="Checkpoint frequency",
        description="Epochs between saved models, at most `epochs`. Empty: the best validation epoch is saved.",
    )
    kv_store: Literal["dist_sync", "dist_async"] | None = Field(
        None, title="Weight updates", description="Between several machines; needs `resources.instance_count` above 1."
    )
    precision_dtype: Literal["float32", "float16"] | None = Field(
        None, title="Precision", description="`float16` needs a GPU. The algorithm's default is `float32`."
    )
    use_weighted_loss: Switch | None = Field(
        None, title="Weighted loss", description="Weighted cross-entropy, for multi-label datasets only."
    )

    def as_strings(self) -> dict[str, str]:
        """The fields that are set, as the API takes them: every value a string."""
        return {name: as_text(value) for name, value in self.model_dump(exclude_none=True).items()}


class NetworkHyperparameters(Known):
    """What a model is built of; an incremental training takes these from its base job."""

    num_layers: NumLayers = Field(
        20,
        title="Layers",
        description="Depth of the residual network: 20, 32, 44, 56, 110 for images up to 28 pixels high, "
        "18, 34, 50, 101, 152, 200 above.",
    )
    image_shape: str = Field(
        "3,28,28",
        title="Image shape",
        description="Channels, height, width. No packed image may be smaller.",
        examples=["3,224,224"],
        pattern=IMAGE_SHAPE_PATTERN,
        json_schema_extra=COMMA_SEPARATED,
    )
    use_pretrained_model: Switch | None = Field(
        None,
        title="Start from ImageNet weights",
        description="`1`: transfer learning, for 18, 34, 50, 101, 152 or 200 layers.",
    )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = (int(part) for part in self.image_shape.split(","))
        return channels, height, width


class Hyperparameters(SharedHyperparameters, NetworkHyperparameters):
    """The hyperparameters of a base training job."""

    model_config = ConfigDict(title="Training: hyperparameters")

    epochs: Count | None = Field(
        5, title="Epochs", description="Passes over the training records. Empty: the algorithm's `30`."
    )
    mini_batch_size: Count | None = Field(
        32,
        title="Mini batch size",
        description="Images per step, split over the GPUs of a machine. Neither channel may hold fewer records.",
    )


class IncrementalHyperparameters(SharedHyperparameters):
    """What differs from the base job; the network itself (layers, image shape, classes) is held."""

    model_config = ConfigDict(title="Incremental training: hyperparameters")

    epochs: Count | None = Field(2, title="Epochs", description="Passes over the training records. Empty: as the base.")
    learning_rate: Fraction | None = Field(
        0.01, title="Learning rate", description="Smaller than the base job's: it starts where that ended."
    )


class TrialHyperparameters(SharedHyperparameters):
    """What differs in a trial from the run's hyperparameters; a field left empty is as there."""

    model_config = ConfigDict(title="Trial: hyperparameters")

    num_layers: NumLayers | None = Field(None, title="Layers", description="Depth of the residual network.")
    image_shape: str | None = Field(
        None,
        title="Image shape",
        description="Channels, height, width.",
        examples=["3,224,224"],
        pattern=IMAGE_SHAPE_PATTERN,
        json_schema_extra=COMMA_SEPARATED,
    )
    use_pretrained_model: Switch | None = Field(
        None, title="Start from ImageNet weights", description="`1`: transfer learning."
    )


def as_text(value: object) -> str:
    """A hyperparameter as AWS writes it: `True`, `0.001`, `3,28,28`."""
    return repr(value) if isinstance(value, float) else str(value)


ScalingType = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]


class Range(BaseModel):
    """Bounds of a numeric hyperparameter, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min: float = Field(description="Smallest value.")
    max: float = Field(description="Largest value.")
    scaling: ScalingType = Field("Auto", description="Scale on which values are drawn.")


Choices = list[str | int | float]
"""Values to choose from, as one writes them in the conf."""

INTEGER_HYPERPARAMETERS = frozenset({"mini_batch_size"})
CATEGORICAL_HYPERPARAMETERS = frozenset({"optimizer"})

DOCUMENTED_RANGES: dict[str, Range] = {
    "beta_1": Range(min=1e-6, max=0.999),
    "beta_2": Range(min=1e-6, max=0.999),
    "eps": Range(min=1e-8, max=1.0),
    "gamma": Range(min=1e-8, max=0.999),
    "learning_rate": Range(min=1e-6, max=0.5),
    "mini_batch_size": Range(min=8, max=512),
    "momentum": Range(min=0.0, max=0.999),
    "weight_decay": Range(min=0.0, max=0.999),
}
DOCUMENTED_CHOICES: dict[str, Choices] = {"optimizer": ["sgd", "adam", "rmsprop", "nag"]}
TUNABLE = frozenset(DOCUMENTED_RANGES) | frozenset(DOCUMENTED_CHOICES)
