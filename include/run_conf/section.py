"""What every section of a run conf is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

NAME_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
NAME_PARTS: dict[str, JsonValue] = {"made_of": "of letters, digits and hyphens between them"}


class Section(BaseModel):
    """Refuses unknown keys and never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, serialize_by_alias=True)
