"""The fields of a nested model by their dotted names, and as the trigger form shows them.

The form only takes texts down; the task that checks the conf reads them, and names field, value and remedy. No bound,
pattern or length is passed on, because the form does not refuse what is outside: it puts the nearest bound in its
place (3 becomes 1), reads `0,001` as 0, and cuts a long text off. Numbers are lines of text for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


@dataclass(frozen=True)
class ConfField:
    """One field a person can set.

    `schema` is its JSON schema without its default and without null among its types, which `nullable` tells; `section`
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
    """The fields of a model and of the sections within it, in order."""
    return tuple(fields_of(model))


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[ConfField]:
    """The fields of a model and of the sections within it, in order."""
    schema = model.model_json_schema()
    for attribute, info in model.model_fields.items():
        name = info.alias or attribute
        if section := section_model(info.annotation):
            yield from fields_of(section, f"{prefix}{name}.")
            continue
        resolved, nullable = _without_null(schema["properties"][name])
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
    """One field of the trigger form: `Param(field.default, **field.schema)`.

    `schema` holds JSON schema words (type, enum, items, examples) and the form's own: title, description,
    description_md and section. Of several types the form shows the first that is not null.
    """

    name: str
    default: Any
    schema: dict[str, Any]

    @property
    def section(self) -> str:
        """The heading under which the form shows the field."""
        return str(self.schema["section"])


def form_fields(model: type[BaseModel]) -> list[FormField]:
    """The fields of a model (the run conf, or that of a DAG of its own), in order."""
    return [_form_field(field) for field in known_fields(model)]


def _form_field(field: ConfField) -> FormField:
    schema: dict[str, Any] = {"type": [field.kind, "string"]}
    default = to_jsonable_python(field.default)
    if field.kind == "array":
        # A list is a text area. It would show an empty list as `[]` and send it in front of what is typed.
        schema = {"type": ["array", "string"], "items": {"type": "object" if field.row_model else "string"}}
        default = default or None
    elif "enum" in field.schema:  # a choice from a list
        schema = {"type": [field.kind], "enum": [*field.schema["enum"]]}
    elif field.kind == "object":  # an editor of JSON
        schema = {"type": ["object", "string"], "examples": [{}]}
    elif field.kind == "boolean":  # a switch
        schema["examples"] = [True, False]
    else:
        several = ["array"] if field.comma_separated else []
        schema = {"type": ["string", "number", *several], "examples": _examples(field)}
    if default == "":  # the form takes an empty field for null, and starts nothing while null is not allowed
        default = None
    if field.nullable or default is None or field.kind in ("array", "object"):
        schema["type"] = ["null", *schema["type"]]
        if "enum" in schema:
            schema["enum"] = [None, *schema["enum"]]
    description = _description(field)
    return FormField(
        name=field.name,
        default=default,
        schema={
            **schema,
            "title": field.schema.get("title", field.name),
            "description": description.replace("`", ""),
            "description_md": f"{description} (`{field.name}`)",
            "section": field.section,
        },
    )


def _examples(field: ConfField) -> list[Any]:
    """What the form offers while a person types; it needs a list, even an empty one, to show a line and not an area."""
    given = field.schema.get("examples", [])
    return [*given] if given or field.default in (None, "") else [field.default]


def _description(field: ConfField) -> str:
    description = str(field.schema.get("description", ""))
    if not field.is_number:
        return description
    allowed = field.allowed()
    return f"{description} {allowed[:1].upper()}{allowed[1:]}.".strip()


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
