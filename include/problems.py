"""What a person has to put right, reported all at once: field, value, remedy; and how a value may be shown.

Web addresses are shown without user and password, and without their query, in which signatures stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict

LIKE = 0.75
"""How much of a name a misspelling shares with it, of 1: `kepp` with `keep`, but not `lr` with `eps`."""
LONGEST_NAME = 100

WEB = ("http://", "https://")
SECRET_PARAMETERS = re.compile(r"(?i)signature|credential|token|sig$|key|secret|passw|auth|code|policy")
"""Names of a query's parameters whose values are secrets: those of AWS, Azure, Google and most others."""
LEAST_SECRET = 8
"""Characters: a shorter value is masked inside its query only, as it may be part of any word."""

_ADDRESS = re.compile(r"(?i)(\b(?!s3://)[a-z][a-z0-9+.-]*://)([^\s/?#\"'<>]*@)?([^\s?#\"'<>]*)(\?[^\s\"'<>]*)?")
_SIGNATURE = re.compile(r"(?i)\b(x-(?:amz|goog|ms)-(?:signature|credential|security-token)|sig|signature)=[^&\s\"'<>]+")


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


def is_web_address(address: str) -> bool:
    """Whether an address begins as one of the web."""
    return address.lower().startswith(WEB)


def shown_address(address: str) -> str:
    """An address as messages may show it; also one that is none."""
    if not is_web_address(address):
        return address
    try:
        url = urlsplit(address)
        return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "..." if url.query else "", ""))
    except ValueError:  # `http://[bad/a.zip`
        return masked(address)


def masked(text: str) -> str:
    """A text in which no address has a user, a password or a query, and no signature has its value.

    Addresses in S3 stay as they are: their keys may have any character.
    """
    if "://" in text:
        text = _ADDRESS.sub(
            lambda found: f"{found[1]}{'...@' if found[2] else ''}{found[3]}{'?...' if found[4] else ''}", text
        )
    return _SIGNATURE.sub(lambda found: f"{found[1]}=...", text) if "=" in text else text


def secrets_of(address: str) -> list[str]:
    """What no log may show of an address: its query, and the values of those parameters that are secrets."""
    query = address.partition("#")[0].partition("?")[2]
    if not is_web_address(address) or not query:
        return []
    raw = [part.partition("=")[2] for part in query.split("&") if SECRET_PARAMETERS.search(part.partition("=")[0])]
    plain = [value for name, value in parse_qsl(query) if SECRET_PARAMETERS.search(name)]
    return list(dict.fromkeys([query, *(value for value in (*raw, *plain) if len(value) >= LEAST_SECRET)]))
