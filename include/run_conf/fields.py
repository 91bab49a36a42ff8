"""What every section of a run conf is, its fields by their dotted names, and the fields as the trigger form shows them.

What Airflow's form honours of a JSON schema: the first type that is not null chooses the kind of field, `enum` with
`values_display` makes a list to choose from, a type without null makes a required field. It checks no
pattern, and does not refuse what is out of bounds: it puts the nearest bound in its place (3 becomes 1), reads `0,001`
as 0, and cuts a long text off. So numbers are lines of text here, without bounds; the first task and the page "New run"
check them, and name field, value and remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.json_schema import models_json_schema

if TYPE_CHECKING:
    from include.problems import Problem

NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
Scalar = str | bool | int | float
"""A JSON scalar."""
ENTRY_IS_SCALAR: dict[str, JsonValue] = {"entry": "a text, a number, or true or false"}
ENTRY_IS_TEXT: dict[str, JsonValue] = {"entry": "a text"}
"""What stands for each name of a table, as a phrase that follows 'must be'."""
COMMA_SEPARATED: dict[str, JsonValue] = {"comma_separated": True}
HAS_TO_BE_GIVEN: dict[str, JsonValue] = {"has_to_be_given": True}
NAME_PARTS: dict[str, JsonValue] = {"made_of": "of letters, digits and hyphens between them"}


Found = TypeVar("Found")


class UnknownValueError(Exception):
    """A field was read whose value has a problem, so that nothing can be said about it."""


class Known(BaseModel):
    """A model that can be read without some of its fields."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise UnknownValueError(name)
            return super().__getattr__(name)

    def has(self, attribute: str) -> bool:
        """Whether a field can be read."""
        return attribute in self.__dict__

    def without(self, names: Collection[str]) -> Self:
        """A copy that lacks the fields of these dotted names: to read one of them raises UnknownValueError."""
        lacking: list[str] = []
        changed: dict[str, Any] = {}
        for attribute, info in type(self).model_fields.items():
            name = info.alias or attribute
            inner = {each.removeprefix(f"{name}.") for each in names if each.startswith(f"{name}.")}
            if name in names:
                lacking.append(attribute)
            elif inner and isinstance(section := getattr(self, attribute), Known):
                changed[attribute] = section.without(inner)
        copy = self.model_copy(update=changed)
        for attribute in lacking:
            del copy.__dict__[attribute]
        return copy


class Section(Known):
    """Refuses unknown keys and never changes after it was read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, serialize_by_alias=True, allow_inf_nan=False
    )


def as_far_as_known(findings: Iterable[Found]) -> Iterator[Found]:
    """Findings up to the first for which a value is needed that has a problem itself."""
    try:
        yield from findings
    except UnknownValueError:
        return


def concerns(problem: Problem, wrong: Collection[str]) -> bool:
    """Whether a problem is about a field that has one already, or about the table or section it is in."""
    return problem.field in wrong or any(name.startswith(f"{problem.field}.") for name in wrong)


COMMON_SECTION = "Common"
COMMON: Mapping[str, str] = {
    "preset": "Preset",
    "dataset.name": "Dataset name",
    "dataset.source": "Images",
    "dataset.labels": "Labels",
    "training.mode": "Mode",
    "training.hyperparameters.num_layers": "Network: layers",
    "training.hyperparameters.image_shape": "Network: image shape",
    "training.hyperparameters.epochs": "Epochs",
    "training.hyperparameters.learning_rate": "Learning rate",
    "promotion.compare": "Promotion: compare with the champion",
    "promotion.minimum_accuracy": "Promotion: minimum accuracy",
    "promotion.approval": "Promotion: approval",
    "endpoint.deploy": "Deploy",
}
"""What most runs set, with the titles that these fields have beside each other."""
_COMMON_ORDER = {name: place for place, name in enumerate(COMMON)}
ACCEPTS_ALL: Mapping[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$ref": "#/definitions/anything",
    "definitions": {"anything": {}},
}
"""Let Airflow's server pass every value on to the task that checks the conf, which says more than "Bad Request".

Beside `$ref` a draft-07 schema checks nothing else (8.3 of its core specification); the form still reads the
rest.
"""
SWITCHES = {"true": "on", "false": "off"}


@dataclass(frozen=True)
class ConfField:
    """One field a person can set.

    `schema` is its JSON schema without its default and without null among its types, which `nullable` says; `section`
    is the title of the model that owns it.
    """

    name: str
    section: str
    default: Any
    annotation: Any
    schema: dict[str, Any]
    nullable: bool

    @property
    def kind(self) -> str:
        """JSON type of the field: string, integer, number, boolean, array or object."""
        return str(self.schema.get("type", "string"))

    @property
    def may_be_empty(self) -> bool:
        """Whether the field can be left without a value."""
        return self.nullable or self.default == ""

    @property
    def title(self) -> str:
        """What a form calls the field."""
        return COMMON.get(self.name) or str(self.schema.get("title", self.name))

    @property
    def fold(self) -> str:
        """The heading under which a form shows the field."""
        return COMMON_SECTION if self.name in COMMON else self.section

    @property
    def hint(self) -> str:
        """What a form says below the field: its meaning, the numbers that it takes, an example of a text."""
        parts = [str(self.schema.get("description", ""))]
        examples = self.schema.get("examples") or self.schema.get("items", {}).get("examples") or ()
        if self.is_number:
            allowed = _allowed(self.schema)
            parts.append(f"{allowed[:1].upper()}{allowed[1:]}.")
        elif examples and str(examples[0]) not in parts[0]:
            parts.append(f"Such as `{examples[0]}`.")
        return " ".join(part for part in parts if part)

    @property
    def has_to_be_given(self) -> bool:
        """Whether a run cannot start without it, although it has no default."""
        return bool(self.schema.get("has_to_be_given"))

    @property
    def choices(self) -> dict[Any, str]:
        """The values to choose from, each with what a form calls it; empty if there are no such values."""
        if self.kind == "boolean":
            return {**SWITCHES}
        named = self.schema.get("choices", {})
        values = self.schema.get("enum", ())
        return {value: f"{value}: {named[value]}" if value in named else str(value) for value in values}

    @property
    def when_empty(self) -> str:
        """What a field stands for that is not filled in; empty if only its description says so."""
        if self.schema.get("unset"):
            return str(self.schema["unset"])
        if self.default is None or self.default in ("", [], {}):
            return ""
        shown = SWITCHES[str(self.default).lower()] if isinstance(self.default, bool) else self.default
        return f"default ({shown})"

    @property
    def is_number(self) -> bool:
        """Whether the field takes any number within bounds."""
        return self.kind in ("integer", "number") and "enum" not in self.schema

    @property
    def has_lists(self) -> bool:
        """Whether the entries of a JSON object may be lists."""
        return "array" in self._entry_types

    @property
    def has_texts(self) -> bool:
        """Whether the entries of a JSON object may be texts, which then stay as they are."""
        return "string" in self._entry_types

    @property
    def _entry_types(self) -> set[str]:
        entry = self.schema.get("additionalProperties") or {}
        return {str(kind.get("type")) for kind in entry.get("anyOf", [entry])}

    @property
    def comma_separated(self) -> bool:
        """Whether commas stand between the values of one line."""
        return bool(self.schema.get("comma_separated"))

    @property
    def row_model(self) -> type[BaseModel] | None:
        """The model of each entry where the field is a list of objects."""
        entries = get_args(self.annotation) if get_origin(self.annotation) is list else ()
        return section_model(entries[0]) if entries else None

    def allowed(self) -> str:
        """The values the field takes, as a phrase that follows 'must be'."""
        phrase = _allowed(self.schema)
        return f"{phrase}, or empty" if self.nullable else phrase


@cache
def known_fields(model: type[BaseModel]) -> tuple[ConfField, ...]:
    """The fields of a model and of the sections within it, in order.

    Every task makes them as it reads its DAG file, so pydantic writes the schemas of all sections at once.
    """
    models = {model, *_models_within(model)}
    references, document = models_json_schema([(each, "validation") for each in models])
    schemas = {each: document["$defs"][schema["$ref"].rpartition("/")[2]] for (each, _), schema in references.items()}
    return tuple(_fields_of(model, "", schemas))


def _models_within(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for info in model.model_fields.values():
        if section := section_model(info.annotation):
            yield section
            yield from _models_within(section)


def _fields_of(model: type[BaseModel], prefix: str, schemas: Mapping[Any, Any]) -> Iterator[ConfField]:
    for attribute, info in model.model_fields.items():
        name = info.alias or attribute
        if section := section_model(info.annotation):
            yield from _fields_of(section, f"{prefix}{name}.", schemas)
            continue
        resolved, nullable = _without_null(schemas[model]["properties"][name])
        default = info.get_default(call_default_factory=True, validated_data={})
        yield ConfField(
            name=f"{prefix}{name}",
            section=str(model.model_config.get("title") or model.__name__),
            default=default,
            annotation=info.annotation,
            schema={key: value for key, value in resolved.items() if key != "default"},
            nullable=nullable,
        )


def section_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of the sections within a model."""
    for attribute, info in model.model_fields.items():
        name = info.alias or attribute
        if section := section_model(info.annotation):
            yield f"{prefix}{name}"
            yield from section_names(section, f"{prefix}{name}.")


def section_model(annotation: Any) -> type[BaseModel] | None:
    """The model behind an annotation where the field is a section, None where it is a value."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


@dataclass(frozen=True)
class FormField:
    """One field of the trigger form: `Param(None, **field.schema)`.

    What stays empty is not given: the run's preset decides, else the default. `schema` is what the form reads: type,
    enum, items, values_display, title, description, description_md and section. It refuses no value (`ACCEPTS_ALL`).
    """

    name: str
    schema: dict[str, Any]

    @property
    def section(self) -> str:
        """The heading under which the form shows the field."""
        return str(self.schema["section"])


def form_fields(model: type[BaseModel], *, unset: str = "") -> list[FormField]:
    """The fields of a model (the run conf, or that of a DAG of its own), those that most runs set first.

    `unset` says what a field that is left empty means, if it does not mean its default.
    """
    return [_form_field(field, unset) for field in form_order(model)]


def form_order(model: type[BaseModel]) -> list[ConfField]:
    """The fields of a model as a form shows them: those that most runs set first."""
    return sorted(known_fields(model), key=lambda field: _COMMON_ORDER.get(field.name, len(COMMON)))


def _form_field(field: ConfField, unset: str) -> FormField:
    schema: dict[str, Any] = {"type": ["null", "string"]}
    if field.kind == "array":  # an area with one text per line; of objects one that takes JSON
        rows = field.row_model is not None
        schema = {"type": ["null", "array", *(["string"] if rows else [])]}
        schema["items"] = {"type": "object" if rows else "string"}
    elif field.kind == "object":  # an editor of JSON
        schema = {"type": ["null", "object"]}
    elif choices := field.choices:  # a list to choose from
        kind = "string" if field.kind == "boolean" else field.kind
        shown = {str(value): label for value, label in choices.items()}
        shown |= {"null": unset or field.when_empty or "not set"}
        schema = {"type": ["null", kind], "enum": [None, *choices], "values_display": shown}
    if field.has_to_be_given:
        schema["type"] = schema["type"][1:]
        if "enum" in schema:
            schema["enum"] = schema["enum"][1:]
    description = _description(field, unset)
    return FormField(
        name=field.name,
        schema={
            **ACCEPTS_ALL,
            **schema,
            "title": field.title,
            "description": description.replace("`", ""),
            "description_md": f"{description} (`{field.name}`)",
            "section": field.fold,
        },
    )


def _description(field: ConfField, unset: str) -> str:
    empty = unset or field.when_empty
    if not empty or field.choices or field.has_to_be_given or "Empty:" in field.hint:
        return field.hint
    return f"{field.hint} Empty: {empty}."


def _without_null(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    variants = schema.get("anyOf")
    if not variants:
        return schema, False
    rest = [variant for variant in variants if variant.get("type") != "null"]
    if len(rest) != 1:
        return schema, len(rest) < len(variants)
    outer = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest[0], **outer}, len(rest) < len(variants)


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        return _texts(schema)
    if kind == "object":
        return "a JSON object"
    return _text(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low = _bound(schema, "minimum", "from", "exclusiveMinimum", "above")
    high = _bound(schema, "maximum", "to", "exclusiveMaximum", "below")
    if low and high:
        joint = " " if high.startswith("to") else " and "
        return f" {low}{joint}{high}"
    if low:
        return f" {low.replace('from', 'of at least')}"
    return f" {high.replace('to', 'of at most')}" if high else ""


def _bound(schema: dict[str, Any], included: str, word: str, excluded: str, word_excluded: str) -> str:
    if included in schema:
        return f"{word} {schema[included]:g}" if schema[included] < 1_000_000 else f"{word} {schema[included]}"
    return f"{word_excluded} {schema[excluded]:g}" if excluded in schema else ""


def _texts(schema: dict[str, Any]) -> str:
    entry = schema.get("items", {})
    if "$ref" in entry:
        return "a list of JSON objects"
    between = " between commas" if schema.get("comma_separated") else ""
    texts = f"a list of texts{between}" + _such_as(entry)
    return f"{texts}, at most {schema['maxItems']}" if "maxItems" in schema else texts


def _such_as(schema: dict[str, Any]) -> str:
    examples = schema.get("examples", [])
    return " such as " + " or ".join(str(example) for example in examples) if examples else ""


def _text(schema: dict[str, Any]) -> str:
    text = "a text" + _such_as(schema)
    if schema.get("made_of"):
        text += f", {schema['made_of']}"
    return f"{text}, at most {schema['maxLength']} characters" if schema.get("maxLength") else text
