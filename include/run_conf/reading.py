"""From what a form, an API call, a file or a command line sent to typed values, with every problem on the way.

All of them are read alike. A value that cannot be read comes back as it is: the model's own check refuses it.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from include.problems import Problem, did_you_mean
from include.run_conf.fields import ConfField, known_fields, section_names
from include.run_conf.hyperparameters import TABLE
from include.run_conf.meaning import is_derived, meant_field, meant_value, named_setting

DERIVED_FIELDS = {
    "training.hyperparameters.multi_label": "dataset.multi_label",
    "hyperparameters.multi_label": "the dataset version",
}
HELD_FIELDS = {
    f"incremental.hyperparameters.{row.name}": f"training.hyperparameters.{row.name}"
    for row in TABLE
    if row.incremental_training == "held"
}
MOST_NAMED = 12
"""Fields of a section that a remedy lists."""
UNSEEN = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "\ufeff\u200b\u2060"
"""White space, and what has no width: byte order mark, zero-width space, word joiner."""
LINE_END = re.compile(r"\r\n|\r|\n")
QUOTES = ('""', "''", "\u201c\u201d")
NOTHING = ("", "null", "None")
EMPTY_LIST = "[]"
"""An empty list as text: a form that shows it sends it in front of what is typed after it."""
LONGEST_NUMBER = 400
"""Digits of the longest number that is read. Python writes no integer of more than 4,300."""
LARGEST_NUMBER = 10**15
"""What the number of a field is below: floats hold every whole number up to here."""
SWITCH = {"true": 1, "false": 0}


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
            self._complain(f"{table}.{key}", value, "its name has half a character: write it again")
        elif key in entries:
            self._complain(f"{table}.{key}", value, "is given twice: keep the nested key or the dotted one")
        else:
            entry = value if self.fields[table].has_texts else parsed_or_same(value)
            is_list = isinstance(entry, str) and self.fields[table].has_lists
            entries[key] = listed(entry, one_line=True) if is_list else entry

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
                remedy = f"must be {field.schema['entry']}"
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
        if setting := named_setting(name):
            return f"no such field: {setting} is a setting of the installation (Airflow Variable image_classification)"
        if name in HELD_FIELDS:
            return f"is fixed by the base job: set {HELD_FIELDS[name]}"
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
        return "no such field; docs/reference/run-conf.md lists them all"

    def _complain(self, field: str, value: Any, remedy: str) -> None:
        self.problems.append(Problem(field=field, value=value, remedy=remedy))


def typed(field: ConfField, value: Any) -> Any:
    """The value as the field's type wants it; None if nothing was given."""
    if value is None or (is_nothing(value) and (field.kind != "string" or field.may_be_empty)):
        return None
    if "enum" in field.schema:
        return _choice(field.schema["enum"], value)
    if field.kind == "array":
        return listed(value, one_line=field.comma_separated)
    if field.kind in ("integer", "number"):
        return _number(value)
    if field.kind == "boolean":
        return unquoted(bare(value)) if isinstance(value, str) else value
    return _text(value, comma_separated=field.comma_separated)


def listed(value: Any, *, one_line: bool) -> Any:
    """A list of texts from a JSON list, from lines, or with `one_line` from one line with commas.

    Blank lines are left out, and so is the `[]` of an empty list in front of other texts.
    """
    if isinstance(value, list | tuple):
        entries = [_without_empty_list(part) if index == 0 else part for index, part in enumerate(value)]
        return [_entry(part) for part in entries if not _is_blank(part)]
    if not isinstance(value, str):
        return [str(value)] if _is_number(value) else value
    text = bare(value)
    begun, rest = _begun_list(text) if text.startswith("[") else (None, text)
    if begun is not None:
        return [*listed(begun, one_line=one_line), *_written(rest, one_line=one_line)]
    if text.startswith("[") and not LINE_END.search(text):
        return _written(text[1:-1], one_line=True) if text.endswith("]") else value
    return value if isinstance(parsed_or_same(text), dict) else _written(text, one_line=one_line)


def lines_of(lines: Iterable[str]) -> Iterator[str]:
    """The texts of a list with one per line; a comma may end each line."""
    written = [line for line in map(bare, lines) if line and line != EMPTY_LIST]
    ended = len(written) > 1 and all(line.endswith(",") for line in written[:-1])
    for line in written:
        if text := unquoted(bare(line.removesuffix(",")) if ended else line):
            yield text


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for other texts, and NestedTooDeepError."""
    try:
        return json.loads(bare(text), parse_constant=_refuse)
    except RecursionError:
        raise NestedTooDeepError from None


def parsed_or_same(value: Any) -> Any:
    """The value of a JSON text; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return parsed(value)
    except ValueError:
        return value


class NestedTooDeepError(ValueError):
    """JSON with hundreds of brackets within brackets."""

    def __init__(self) -> None:
        super().__init__("its brackets are nested too deep")


def bare(text: str) -> str:
    """A text without the white space and byte order marks around it."""
    return text.strip(UNSEEN)


def unquoted(text: str) -> str:
    """A text without one pair of quotes around the whole of it."""
    wrapped = len(text) > 1 and f"{text[0]}{text[-1]}" in QUOTES and text[0] not in text[1:-1]
    return bare(text[1:-1]) if wrapped else text


def is_unicode(text: str) -> bool:
    """Whether a text holds whole characters only; JSON can carry half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_nothing(value: Any) -> bool:
    """Whether a value stands for none: null, an empty text, the words null and None."""
    return value is None or (isinstance(value, str) and unquoted(bare(value)) in NOTHING)


def is_too_large(value: Any) -> bool:
    """Whether a value is a number that no field takes."""
    return isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER


def _written(text: str, *, one_line: bool) -> list[str]:
    lines = [line for line in LINE_END.split(text) if bare(line)]
    if one_line and len(lines) == 1:
        try:
            parts = next(csv.reader(lines, skipinitialspace=True))
        except csv.Error:
            parts = lines[0].split(",")
        return [part for part in (unquoted(bare(part)) for part in parts) if part]
    return list(lines_of(lines))


def _begun_list(text: str) -> tuple[list[Any] | None, str]:
    """The JSON list at the beginning of a text and what follows it; no list if the text begins with none."""
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse).raw_decode(text)
    except (ValueError, RecursionError):
        return None, text
    return value, text[end:]


def _without_empty_list(entry: Any) -> Any:
    return bare(entry).removeprefix(EMPTY_LIST) if isinstance(entry, str) else entry


def _is_blank(entry: Any) -> bool:
    return isinstance(entry, str) and bare(entry) in ("", EMPTY_LIST)


def _is_number(value: Any) -> bool:
    """Whether a value is a number that can be written out."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 10**LONGEST_NUMBER


def _entry(part: Any) -> Any:
    if isinstance(part, str):
        return bare(part)
    return str(part) if _is_number(part) else part


def _text(value: Any, *, comma_separated: bool) -> Any:
    if isinstance(value, str):
        value = unquoted(bare(value))
        if not comma_separated:
            return value
        whole = parsed_or_same(value)
        value = whole if isinstance(whole, list) else value.split(",")
    if isinstance(value, list | tuple) and (comma_separated or len(value) == 1):
        entries = [_entry(part) for part in value]
        return ",".join(entries) if all(isinstance(part, str) for part in entries) else value
    return _entry(value)


def _choice(choices: Sequence[Any], value: Any) -> Any:
    """The choice that a value names: 18, 18.0 and "18" are the same, and so are SGD and sgd."""
    if not (isinstance(value, str) or _is_number(value) or isinstance(value, bool)):
        return value
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    wanted = unquoted(bare(str(int(value) if whole else value))).casefold()
    if set(choices) <= set(SWITCH.values()):
        wanted = str(SWITCH.get(wanted, wanted))
    return next((choice for choice in choices if str(choice).casefold() == wanted), value)


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = unquoted(bare(value))
    number = parsed_or_same(text) if len(text) <= LONGEST_NUMBER else text
    return number if _is_number(number) else text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
