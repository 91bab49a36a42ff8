"""What a tuning job may vary, and between which bounds.

Source: the SageMaker developer guide, "Tune an Image Classification Model".
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
