"""The run conf: the only definition of the trigger form, of what is accepted, and of its reference page."""

from __future__ import annotations

from include.run_conf.conf import RunConf, RunConfError
from include.run_conf.dataset import DatasetConf, PackingConf, SplitConf
from include.run_conf.form import FormField, form_fields
from include.run_conf.hyperparameters import Hyperparameters, IncrementalHyperparameters, SharedHyperparameters
from include.run_conf.ranges import Choices, Range
from include.run_conf.sections import (
    EndpointConf,
    IncrementalConf,
    PromotionConf,
    ResourcesConf,
    TrainingConf,
)
from include.run_conf.trials import TrialConf
from include.run_conf.tuning import CompletionConf, TuningConf, WarmStartConf

__all__ = [
    "Choices",
    "CompletionConf",
    "DatasetConf",
    "EndpointConf",
    "FormField",
    "Hyperparameters",
    "IncrementalConf",
    "IncrementalHyperparameters",
    "PackingConf",
    "PromotionConf",
    "Range",
    "ResourcesConf",
    "RunConf",
    "RunConfError",
    "SharedHyperparameters",
    "SplitConf",
    "TrainingConf",
    "TrialConf",
    "TuningConf",
    "WarmStartConf",
    "form_fields",
]
