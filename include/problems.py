"""What a person has to put right, reported all at once: field, value, remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict

from include.web_addresses import masked

LIKE = 0.75
"""How much of a name a misspelling shares with it, of 1: `kepp` with `keep`, but not `lr` with `eps`."""
LONGEST_NAME = 100


class Problem(BaseModel):
    """One thing that stands in the way of a run.

    `field` is the dotted name under which the person wrote the value, `value` what arrived, `remedy` what to do.
    """

    model_config = ConfigDict(frozen=True)

    field: str
    value: Any = None
    remedy: str

    def __str__(self) -> str:
        return f"{shown(self.field)} = {shown(self.value)}: {self.remedy}"


class ProblemsError(ValueError):
    """All problems of one document in one error; `problems` holds them for whoever wants to show them differently."""

    title = "There are problems"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{self.title}:\n{lines}")


def shown(value: object) -> str:
    """The value as the person would have typed it, shortened to one line that every terminal and log can take.

    Web addresses are shown without their queries, in which signatures stand.
    """
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else _written(value)
    text = masked(text)
    text = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text[:100])
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(name: str, known: Iterable[str], *, like: float = LIKE) -> str | None:
    """The known name that another is a misspelling of; None if it is like none of them."""
    if len(name) > LONGEST_NAME:
        return None
    spelt = {each.casefold(): each for each in known}
    found = get_close_matches(name.casefold(), spelt, n=1, cutoff=like)
    return spelt[found[0]] if found else None


def did_you_mean(name: str | None) -> str:
    """A question for the end of a remedy; nothing if there is nothing to suggest."""
    return f"; did you mean {name}?" if name else ""


def _written(value: object) -> str:
    try:
        return repr(value)
    except RecursionError:
        return f"a {type(value).__name__} with hundreds of levels"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return f"a {type(value).__name__} of thousands of digits"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
