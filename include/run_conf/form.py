"""The trigger form's fields, derived from the run conf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from include.run_conf.conf import RunConf
from include.run_conf.fields import ConfField, fields_of

# What the form itself holds a person to. It checks no pattern and no excluded bound, and answers "Bad Request" where
# one is missed: those are left to the task that checks the conf, whose message names field, value and remedy.
PASSED_ON = ("enum", "minimum", "maximum", "maxLength", "examples")
INCLUDED = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


@dataclass(frozen=True)
class FormField:
    """One field of the trigger form: `Param(field.default, **field.schema)`.

    `schema` holds JSON schema words (type, enum, minimum, maximum, ...) and the form's own: title, description,
    description_md and section.
    """

    name: str
    default: Any
    schema: dict[str, Any]

    @property
    def section(self) -> str:
        """The heading under which the form shows the field."""
        return str(self.schema["section"])


def form_fields() -> list[FormField]:
    """The fields of the run conf, in order."""
    return [_form_field(field) for field in fields_of(RunConf)]


def _form_field(field: ConfField) -> FormField:
    schema: dict[str, Any] = {INCLUDED[key]: field.schema[key] for key in INCLUDED if key in field.schema}
    schema |= {key: field.schema[key] for key in PASSED_ON if key in field.schema}
    default = to_jsonable_python(field.default)
    if default == "":  # the form takes an empty field for null, and starts nothing while null is not allowed
        default = None
    may_be_empty = field.nullable or default is None or field.kind in ("array", "object")
    schema["type"] = ["null", field.kind] if may_be_empty else field.kind
    if "enum" in schema and field.nullable:
        schema["enum"] = [None, *schema["enum"]]
    if field.kind == "array":  # shown as lines, or as JSON; a conf that is sent may be one text
        entries = "object" if field.row_model else "string"
        schema |= {"type": ["null", "array", "string"], "items": {"type": entries}}
    description = str(field.schema.get("description", ""))
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
