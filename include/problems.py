"""What a person has to put right, told all at once: field, value, remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """One thing that stands in the way of a run.

    `field` is the dotted name under which the person wrote the value, `value` what arrived, `remedy` what to do.
    """

    model_config = ConfigDict(frozen=True)

    field: str
    value: Any = None
    remedy: str

    def __str__(self) -> str:
        return f"{self.field} = {shown(self.value)}: {self.remedy}"


class ProblemsError(ValueError):
    """All problems of one document in one error; `problems` holds them for whoever wants to show them differently."""

    title = "There are problems"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{self.title}:\n{lines}")


def shown(value: object) -> str:
    """The value as the person would have typed it, shortened to one line."""
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
