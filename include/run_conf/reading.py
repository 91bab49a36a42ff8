"""From what a form, an API call or a command line sent to typed values, with every problem on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from include.problems import Problem, did_you_mean
from include.run_conf.fields import ConfField, known_fields, section_names
from include.run_conf.meaning import is_derived, meant_field, meant_value
from include.run_conf.values import (
    LARGEST_NUMBER,
    bare,
    is_nothing,
    is_too_large,
    is_unicode,
    listed,
    parsed_or_same,
    typed,
)

DERIVED_FIELDS = {
    "training.hyperparameters.multi_label": "dataset.multi_label",
    "hyperparameters.multi_label": "the dataset version",
}
HELD_FIELDS = {
    f"incremental.hyperparameters.{name}": f"training.hyperparameters.{name}" for name in ("num_layers", "image_shape")
}
MOST_NAMED = 12
"""Fields of a section that a remedy lists."""


class Reading:
    """Values by dotted name, and what was wrong with the rest."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.fields = {field.name: field for field in known_fields(model)}
        self.sections = set(section_names(model))
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self._meant: set[str] = set()
        self._sent: dict[str, Any] = {}

    @classmethod
    def of(cls, model: type[BaseModel], conf: Mapping[str, Any]) -> Reading:
        """Read a conf for a model; afterwards `document()` validates and `problems` says what was left out of it."""
        reading = cls(model)
        reading._collect("", conf)
        reading._keep_valid(model)
        return reading

    @property
    def wrong_fields(self) -> frozenset[str]:
        """The fields that already have a problem."""
        return frozenset(problem.field for problem in self.problems)

    @property
    def unknown_fields(self) -> frozenset[str]:
        """The fields with a problem, and those that a person seems to have meant with an unknown name."""
        return self.wrong_fields | self._meant

    def document(self) -> dict[str, Any]:
        """The values, nested."""
        document: dict[str, Any] = {}
        for name, value in self.values.items():
            *sections, leaf = name.split(".")
            level = document
            for section in sections:
                level = level.setdefault(section, {})
            level[leaf] = value
        return document

    def _collect(self, prefix: str, conf: Mapping[str, Any]) -> None:
        for key, value in conf.items():
            name = f"{prefix}{bare(str(key))}"
            if name in self.sections:
                self._section(name, value)
            elif name in self.fields:
                self._field(self.fields[name], value)
            elif owner := self._table_of(name):
                self._entry(owner, name.removeprefix(f"{owner}."), value)
            elif any(section.startswith(f"{name}.") for section in self.sections):
                self._section(name, value)
            else:
                self._complain(name, value, self._unknown(name, value))

    def _section(self, name: str, value: Any) -> None:
        fields = parsed_or_same(value)
        if isinstance(fields, Mapping):
            self._collect(f"{name}.", fields)
        elif not is_nothing(value):
            self._complain(name, value, "is a section: give a JSON object with its fields")

    def _field(self, field: ConfField, value: Any) -> None:
        if field.kind == "object":
            table = parsed_or_same(value)
            if isinstance(table, Mapping):
                for key, entry in table.items():
                    self._entry(field.name, bare(str(key)), entry)
            elif not is_nothing(table):
                self._complain(field.name, value, f"must be {field.allowed()}")
        elif field.name in self.values or field.name in self.wrong_fields:
            self._complain(field.name, value, "is given twice: keep the nested key or the dotted one")
        elif field.is_number and isinstance(value, bool):
            self._complain(field.name, value, f"must be {field.allowed()}")
        elif field.is_number and is_too_large(typed(field, value)):
            self._complain(field.name, value, f"must be {field.allowed()}, and below {LARGEST_NUMBER:,}")
        elif field.row_model:
            self._rows(field, field.row_model, value)
        else:
            read = typed(field, value)
            if read is not None or field.nullable:
                self.values[field.name] = read
                self._sent[field.name] = value

    def _rows(self, field: ConfField, model: type[BaseModel], value: Any) -> None:
        rows = parsed_or_same(value)
        if is_nothing(rows):
            return
        if not isinstance(rows, list | tuple) or not all(isinstance(row, Mapping) for row in rows):
            self._complain(field.name, value, f"must be {field.allowed()}")
            return
        readings = [Reading.of(model, row) for row in rows]
        self.values[field.name] = [reading.document() for reading in readings]
        for index, reading in enumerate(readings):
            for problem in reading.problems:
                self._complain(f"{field.name}.{index}.{problem.field}", problem.value, problem.remedy)

    def _entry(self, table: str, key: str, value: Any) -> None:
        entries = self.values.setdefault(table, {})
        if not is_unicode(key):
            self._complain(f"{table}.{key}", value, "its name holds half a character: write it again")
        elif key in entries:
            self._complain(f"{table}.{key}", value, "is given twice: keep the nested key or the dotted one")
        else:
            entry = parsed_or_same(value)
            entries[key] = listed(entry, one_line=True) if isinstance(entry, str) else entry

    def _table_of(self, name: str) -> str | None:
        tables = (field.name for field in self.fields.values() if field.kind == "object")
        return next((table for table in tables if name.startswith(f"{table}.")), None)

    def _keep_valid(self, model: type[BaseModel]) -> None:
        try:
            model.model_validate(self.document())
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False):
                path = [str(part) for part in detail["loc"]]
                name = next(name for name in self.fields if path[: name.count(".") + 1] == name.split("."))
                self._reject(self.fields[name], path[name.count(".") + 1 :])

    def _reject(self, field: ConfField, inner: list[str]) -> None:
        if field.kind == "object" and inner:
            entries = self.values[field.name]
            if inner[0] in entries:
                remedy = 'must be a list of values or {"min": 0.001, "max": 0.1, "scaling": "Auto"}'
                self._complain(f"{field.name}.{inner[0]}", entries.pop(inner[0]), remedy)
        elif field.name in self.values:
            value = self.values.pop(field.name)
            wrong = value[int(inner[0])] if field.kind == "array" and inner else self._sent.get(field.name, value)
            suggested = did_you_mean(meant_value(field, wrong))
            self._complain(field.name, wrong, f"must be {field.allowed()}{suggested}")

    def _unknown(self, name: str, value: Any) -> str:
        if is_derived(name) or name in DERIVED_FIELDS:
            source = DERIVED_FIELDS.get(name, "the dataset version")
            return f"follows from {source}: leave it out"
        if name in HELD_FIELDS:
            return f"is the base job's: set {HELD_FIELDS[name]}"
        if meant := meant_field(name, [*self.fields, *sorted(self.sections)]):
            if meant not in self.sections:
                self._meant.add(meant)
            elif isinstance(value, Mapping):
                self._meant |= {f"{meant}.{key}" for key in value}
            return f"no such field{did_you_mean(meant)}"
        section = name.rpartition(".")[0]
        beside = [field for field in self.fields if field.rpartition(".")[0] == section]
        if beside and len(beside) <= MOST_NAMED:
            return f"no such field; there are {', '.join(beside)}"
        return "no such field; docs/run-conf.md lists them all"

    def _complain(self, field: str, value: Any, remedy: str) -> None:
        self.problems.append(Problem(field=field, value=value, remedy=remedy))
