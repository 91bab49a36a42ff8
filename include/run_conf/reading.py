"""From what a form, an API call or a command line sent to typed values, with every problem on the way."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from include.problems import Problem
from include.run_conf.fields import ConfField, fields_of, section_names

DERIVED = {"num_classes", "num_training_samples"}
DERIVED_FIELDS = {
    "training.hyperparameters.multi_label": "dataset.multi_label",
    "hyperparameters.multi_label": "the dataset version",
}
HELD_FIELDS = {
    f"incremental.hyperparameters.{name}": f"training.hyperparameters.{name}" for name in ("num_layers", "image_shape")
}


class Reading:
    """Values by dotted name, and what was wrong with the rest."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.fields = {field.name: field for field in fields_of(model)}
        self.sections = set(section_names(model))
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []

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
            name = f"{prefix}{key}"
            if name in self.sections:
                self._section(name, value)
            elif name in self.fields:
                self._field(self.fields[name], value)
            elif owner := self._table_of(name):
                self._entry(owner, name.removeprefix(f"{owner}."), value)
            elif any(section.startswith(f"{name}.") for section in self.sections):
                self._section(name, value)
            else:
                self._complain(name, value, self._unknown(name))

    def _section(self, name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            self._collect(f"{name}.", value)
        elif value is not None:
            self._complain(name, value, "is a section: give a JSON object with its fields")

    def _field(self, field: ConfField, value: Any) -> None:
        if field.kind == "object":
            table = _parsed(value)
            if isinstance(table, Mapping):
                for key, entry in table.items():
                    self._entry(field.name, str(key), entry)
            elif not _empty(table):
                self._complain(field.name, value, f"must be {field.allowed()}")
        elif field.name in self.values or field.name in self.wrong_fields:
            self._complain(field.name, value, "is given twice: keep the nested key or the dotted one")
        elif isinstance(value, bool) and field.kind in ("integer", "number") and "enum" not in field.schema:
            self._complain(field.name, value, f"must be {field.allowed()}")
        elif field.row_model:
            self._rows(field, field.row_model, value)
        else:
            typed = _as_typed(field, value)
            if typed is not None or field.nullable:
                self.values[field.name] = typed

    def _rows(self, field: ConfField, model: type[BaseModel], value: Any) -> None:
        rows = _parsed(value)
        if _empty(rows):
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
        if key in entries:
            self._complain(f"{table}.{key}", value, "is given twice: keep the nested key or the dotted one")
        else:
            entries[key] = value

    def _table_of(self, name: str) -> str | None:
        tables = (field.name for field in self.fields.values() if field.kind == "object")
        return next((table for table in tables if name.startswith(f"{table}.")), None)

    def _keep_valid(self, model: type[BaseModel]) -> None:
        try:
            model.model_validate(self.document())
        except ValidationError as error:
            for detail in error.errors():
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
            wrong = value[int(inner[0])] if field.kind == "array" and inner else value
            self._complain(field.name, wrong, f"must be {field.allowed()}")

    def _unknown(self, name: str) -> str:
        leaf = name.rpartition(".")[2]
        if leaf in DERIVED or name in DERIVED_FIELDS:
            source = DERIVED_FIELDS.get(name, "the dataset version")
            return f"follows from {source}: leave it out"
        if name in HELD_FIELDS:
            return f"is the base job's: set {HELD_FIELDS[name]}"
        known = [*self.fields, *self.sections]
        by_leaf = [field for field in known if field.rpartition(".")[2] == leaf]
        if by_leaf:
            return f"no such field; did you mean {by_leaf[0]}?"
        section = name.rpartition(".")[0]
        beside = [field for field in self.fields if field.rpartition(".")[0] == section]
        nearest = difflib.get_close_matches(name, beside if section in self.sections else known, n=1, cutoff=0.0)
        return f"no such field; did you mean {nearest[0]}?"

    def _complain(self, field: str, value: Any, remedy: str) -> None:
        self.problems.append(Problem(field=field, value=value, remedy=remedy))


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, str) and not value.strip())


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.strip():
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _as_typed(field: ConfField, value: Any) -> Any:
    """The value as the field's type wants it; None where nothing was given."""
    if value is None or (_empty(value) and (field.kind != "string" or field.nullable)):
        return None
    if "enum" in field.schema:
        wanted = str(int(value)) if isinstance(value, bool) else str(value).strip()
        return next((choice for choice in field.schema["enum"] if str(choice) == wanted), value)
    if field.kind == "array":
        return _as_texts(value, comma_separated=field.comma_separated)
    if field.kind == "string" and isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    if field.kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _as_texts(value: Any, *, comma_separated: bool) -> Any:
    """A list of texts from a JSON list, from lines, or from words between commas where the field takes them."""
    parsed = _parsed(value)
    if isinstance(parsed, str) or (isinstance(value, str) and not isinstance(parsed, list)):
        lines = str(value).splitlines()
        parts = [part for line in lines for part in line.split(",")] if comma_separated else lines
        parsed = [part.strip() for part in parts if part.strip()]
    if isinstance(parsed, list | tuple):
        return [str(part) if isinstance(part, int | float) else part for part in parsed]
    return parsed
