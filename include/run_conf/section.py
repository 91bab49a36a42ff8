"""What every section of a run conf is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

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
