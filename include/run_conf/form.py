"""The trigger form's fields, derived from the run conf.

The form only takes texts down; the task that checks the conf reads them, and names field, value and remedy. No bound,
pattern or length is passed on, because the form does not refuse what is outside: it puts the nearest bound in its
place (3 becomes 1), reads `0,001` as 0, and cuts a long text off. Numbers are lines of text for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from include.run_conf.conf import RunConf
from include.run_conf.fields import ConfField, known_fields


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


def form_fields(model: type[BaseModel] = RunConf) -> list[FormField]:
    """The fields of the run conf, or of another model, in order."""
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
