"""The run conf: the only definition of the trigger form, of what is accepted, and of its reference page.

A preset is a run conf to start from, a file of `presets/`: the demo's digits, photographs, and the five public
write-ups. What a person gives overrides the preset of the run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from include.problems import Problem, ProblemsError, shown
from include.run_conf.algorithm import AlgorithmConf
from include.run_conf.dataset import DatasetConf, PackingConf, SplitConf
from include.run_conf.endpoint import AutoscalingConf, EndpointConf, RolloutConf, ServerlessConf
from include.run_conf.fields import FormField, Section, form_fields
from include.run_conf.hyperparameters import (
    Choices,
    Hyperparameters,
    IncrementalHyperparameters,
    Range,
    SharedHyperparameters,
)
from include.run_conf.reading import Reading, is_nothing
from include.run_conf.rules import contradictions
from include.run_conf.sections import (
    CompletionConf,
    EvaluationConf,
    IncrementalConf,
    PromotionConf,
    ResourcesConf,
    RetrainingConf,
    SampleConf,
    TrainingConf,
    TrialConf,
    TuningConf,
    WarmStartConf,
)

__all__ = [
    "PRESETS",
    "AlgorithmConf",
    "AutoscalingConf",
    "Choices",
    "CompletionConf",
    "DatasetConf",
    "EndpointConf",
    "EvaluationConf",
    "FormField",
    "Hyperparameters",
    "IncrementalConf",
    "IncrementalHyperparameters",
    "PackingConf",
    "Preset",
    "PromotionConf",
    "Range",
    "ResourcesConf",
    "RetrainingConf",
    "RolloutConf",
    "RunConf",
    "RunConfError",
    "SampleConf",
    "ServerlessConf",
    "SharedHyperparameters",
    "SplitConf",
    "TrainingConf",
    "TrialConf",
    "TuningConf",
    "WarmStartConf",
    "form_fields",
]


Preset = Literal[
    "photographs",
    "digits",
    "caltech-256",
    "cats-and-dogs",
    "dog-breeds-script",
    "multi-label-334",
    "custom-container",
]
PRESETS: Mapping[Preset, str] = {
    "photographs": "ResNet-50 from ImageNet weights, 224 pixels; on AWS",
    "digits": "the demo's handwritten digits, a small network",
    "caltech-256": "257 classes, finished records: ResNet-18 from scratch, then trained further",
    "cats-and-dogs": "two classes: one training job beside a tuning job of six, the tuned model trained further",
    "dog-breeds-script": "133 classes, a PyTorch script: tuned, then trained in full",
    "multi-label-334": "several of 334 labels per image: ResNet-152 with weighted loss, tuned",
    "custom-container": "a container of your own, trained on folders of images",
}
"""What each preset is for, in a few words."""
PRESET = "preset"
"""The field that names one."""
PRESETS_FOLDER = Path(__file__).parent / "presets"
NAMES_IMAGES = (
    "dataset.source",
    "dataset.label_tables",
    "dataset.image_list",
    "dataset.inventory",
    "dataset.version",
)
"""The fields that say which images a run learns from."""
OF_ANY_IMAGES = ("dataset.packing.", "dataset.multi_label", "dataset.negatives")
"""What a preset says about the dataset if these are a person's own images; the rest belongs to the preset's images."""


class RunConfError(ProblemsError):
    """What arrived is not a run conf; `problems` names every field, its value and what to do."""

    title = "The run conf has problems"


class RunConf(Section):
    """What a run does; every default works in the demo."""

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

    @classmethod
    def from_conf(cls, conf: Mapping[str, Any] | None) -> Self:
        """Read what a form, the API, the CLI or a schedule sent: nested keys, dotted keys, or both.

        Texts become the numbers, switches and lists that the fields want. An emptied form field is its default, or
        empty if the field may be empty; if the conf names a preset, that decides. The conf that comes out is whole and
        names no preset. Raises RunConfError with all problems at once: unknown keys, fields given twice, wrong types
        and values, contradictions between fields.
        """
        run_conf, problems = cls.read(conf)
        if problems:
            raise RunConfError(problems)
        return run_conf

    @classmethod
    def read(cls, conf: Mapping[str, Any] | None) -> tuple[Self, list[Problem]]:
        """The conf without the values that have a problem, and all problems.

        What needs a value that is missing then raises UnknownValueError, so that the rest can still be checked.
        """
        reading = Reading.of(cls, conf or {})
        name, filled = _by_preset(cls, reading)
        reading.values = {**reading.values, **filled, PRESET: None}
        run_conf = cls.model_validate(reading.document()).without(reading.unknown_fields)
        found = contradictions(run_conf, wrong=reading.unknown_fields)
        return run_conf, [*reading.problems, *(_named_with_preset(problem, name, filled) for problem in found)]

    @classmethod
    def by_preset(cls, conf: Mapping[str, Any] | None) -> dict[str, Any]:
        """The fields of a conf that its preset decides, by dotted name; none if it names none."""
        return _by_preset(cls, Reading.of(cls, conf or {}))[1]

    @classmethod
    def read_changes(cls, conf: Mapping[str, Any] | None) -> tuple[Self, list[Problem]]:
        """What a person changes of another conf, without the values that have a problem, and all problems.

        A field that a form left empty changes nothing. Whether fields beside the dataset's fit each other depends on
        the conf that they change.
        """
        reading = Reading.of(cls, _given(conf or {}))
        problems = [*reading.problems]
        if (name := reading.values.pop(PRESET, None)) is not None:
            remedy = "fills in a whole run, and this run changes fields of one: leave it out, and name these fields"
            problems.append(Problem(field=PRESET, value=name, remedy=remedy))
        changes = cls.model_validate(reading.document()).without(reading.unknown_fields)
        found = contradictions(changes, wrong=reading.unknown_fields)
        return changes, [*problems, *(problem for problem in found if problem.field.startswith("dataset."))]

    def changed_by(self, *layers: Mapping[str, Any]) -> Self:
        """This conf with the fields of each layer, nested or dotted, instead of its own; the last one counts.

        Raises RunConfError if what comes out contradicts itself.
        """
        document = self.model_dump(mode="json")
        for layer in layers:
            _change(document, Reading.of(type(self), layer).document())
        return self.from_conf(document)

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

    @property
    def endpoint_name(self) -> str:
        """The endpoint's name, the dataset's if none is given."""
        return self.endpoint.name or self.dataset.name


def _by_preset(model: type[RunConf], reading: Reading) -> tuple[str, dict[str, Any]]:
    """The preset that a conf names, and the fields that it decides; a field that is null was not given."""
    name = reading.values.get(PRESET)
    if name is None:
        return "", {}
    given = {field for field, value in reading.values.items() if value is not None} | reading.unknown_fields
    values = Reading.of(model, preset_conf(name)).values
    return name, {field: value for field, value in values.items() if is_left_to_preset(field, given)}


def _named_with_preset(problem: Problem, name: str, filled: Mapping[str, Any]) -> Problem:
    """A problem with a value that a person did not write says where that comes from."""
    if problem.field not in filled:
        return problem
    return problem.model_copy(update={"remedy": f"{problem.remedy} (the preset {name} sets it)"})


def _given(conf: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _given(value) if isinstance(value, Mapping) else value
        for key, value in conf.items()
        if not is_nothing(value)
    }


def _change(document: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if isinstance(value, Mapping) and isinstance(document.get(name), dict):
            _change(document[name], value)
        else:
            document[name] = value


def preset_conf(name: Preset) -> dict[str, Any]:
    """The run conf of a preset."""
    conf: dict[str, Any] = json.loads((PRESETS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return conf


def dataset_named_by(conf: Mapping[str, Any]) -> str:
    """The dataset that a conf names, dotted, nested or by its preset; empty if it names none."""
    nested = conf.get("dataset")
    inner = {f"dataset.{name}": value for name, value in nested.items()} if isinstance(nested, Mapping) else {}
    given = {name: value for name, value in {**conf, **inner}.items() if value}
    preset: Any = conf.get(PRESET)
    if preset in PRESETS and is_left_to_preset("dataset.name", given):
        return str(preset_conf(preset)["dataset"]["name"])
    return str(given.get("dataset.name", ""))


def described(values: Mapping[str, Any]) -> str:
    """Values by dotted name, in one line; long lists are cut."""
    return ", ".join(f"{field} = {shown(value)}" for field, value in values.items())


def is_left_to_preset(field: str, given: Collection[str]) -> bool:
    """Whether a preset decides about a field, by its dotted name, if a person has given these."""
    if field in given:
        return False
    own_images = any(name in given for name in NAMES_IMAGES)
    return not (own_images and field.startswith("dataset.")) or field.startswith(OF_ANY_IMAGES)
