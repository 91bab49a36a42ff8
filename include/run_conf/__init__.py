"""The run conf: the only definition of the trigger form, of what is accepted, and of its reference page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from include.problems import Problem, ProblemsError
from include.run_conf.algorithm import AlgorithmConf
from include.run_conf.dataset import DatasetConf, PackingConf, SplitConf
from include.run_conf.endpoint import AutoscalingConf, EndpointConf, RolloutConf, ServerlessConf
from include.run_conf.fields import FormField, form_fields
from include.run_conf.hyperparameters import Choices, Range
from include.run_conf.presets import PRESET, is_left_to_preset, preset_conf
from include.run_conf.reading import Reading, is_nothing
from include.run_conf.rules import contradictions
from include.run_conf.sections import (
    EvaluationConf,
    Hyperparameters,
    IncrementalConf,
    IncrementalHyperparameters,
    PromotionConf,
    ResourcesConf,
    RetrainingConf,
    RunSections,
    SampleConf,
    SharedHyperparameters,
    TrainingConf,
    TrialConf,
)
from include.run_conf.tuning import CompletionConf, TuningConf, WarmStartConf

__all__ = [
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


class RunConfError(ProblemsError):
    """What arrived is not a run conf; `problems` names every field, its value and what to do."""

    title = "The run conf has problems"


class RunConf(RunSections):
    """What a run does; every default works in the demo."""

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
