"""The project's files of text, and the commands that its pages show.

A test that runs a command takes it from the pages, by `shown`. So a page that changes changes what is run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def project_files(*suffixes: str) -> Iterator[Path]:
    """Every file of the project with one of these suffixes; hidden folders hold environments and what ran here."""
    for folder, names, files in os.walk(ROOT):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__pycache__")
        yield from (Path(folder, file) for file in sorted(files) if file.endswith(suffixes))


MARKDOWN = list(project_files(".md"))
PAGES = [page for page in MARKDOWN if page.name != "CHANGELOG.md"]  # it also says what was
PYTHON = re.compile(r"^(?:\.venv[\w.-]*/bin/)?python$")
RUN = ("make", "airflow", "aws", ".local/run")
OF_THE_SYSTEM = ("cp", "curl", "docker", "duckdb", "find", "git", "pip")
"""Other people's commands that pages show."""

README = ROOT / "README.md"
FIRST_RUN = ROOT / "docs/tutorial/first-run.md"
"""The page of the demo."""
WRITE_UPS = ROOT / "docs/how-to/write-ups.md"


def commands_of(page: Path) -> list[str]:
    """Every line of a page's indented blocks, without its comment; a line that ends in a backslash has its next."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).replace("\\\n", " ")
    return [line.partition("  # ")[0].strip() for line in re.findall(r"^ {4,7}(\S.*)$", text, re.MULTILINE)]


@dataclass(frozen=True)
class Shown:
    """A command of a page: as it is written, the variables before it, and its words.

    `is_named` is a command of running text, which may be no more than a program's name.
    """

    line: str
    variables: tuple[str, ...]
    words: tuple[str, ...]
    page: Path
    is_named: bool

    @property
    def text(self) -> str:
        """The words with a blank between them: what a pattern of `shown` is matched with."""
        return " ".join([*self.variables, *self.words])


def commands_shown(page: Path) -> Iterator[Shown]:
    """Every command of a page, in blocks and in spans; pipes, chains and what stands in $() are commands one by one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for is_named, lines in ((False, commands_of(page)), (True, re.findall(r"`([^`\n]+)`", text))):
        for line in lines:
            for inner in [line, *re.findall(r"\$\((aws [^()]*)\)", line)]:
                for part in re.split(r" (?:\||&&|;) ", inner):
                    with suppress(ValueError):  # a text of something else, with half a quotation
                        words = shlex.split(part.removeprefix("export "))
                        variables = [*takewhile(re.compile(r"^[A-Z_]+=").match, words)]
                        del words[: len(variables)]
                        if words and "..." not in words and is_program(*words):
                            yield Shown(part, tuple(variables), tuple(words), page, is_named)


def is_program(name: str, *arguments: str) -> bool:
    """Whether words begin with the name of a program; one of the system's has arguments, as its name is also a word."""
    if "/" in name:
        file = ROOT / name
        return name == ".local/run" or name.startswith(".venv") or (file.is_file() and os.access(file, os.X_OK))
    return name in RUN or name == "python" or (name in OF_THE_SYSTEM and bool(arguments))


@cache
def all_shown() -> tuple[Shown, ...]:
    """The commands of every page, each once, in the order of the pages; what a block shows comes before other text."""
    commands = [command for page in PAGES for command in commands_shown(page)]
    found: dict[str, Shown] = {}
    for command in sorted(commands, key=lambda command: command.is_named):
        found.setdefault(command.text, command)
    return tuple(found.values())


def shown(pattern: str) -> list[Shown]:
    """The commands that pages show and that a pattern matches; `*` stands for any text.

    The test that asks for them runs them: test_shown_commands.py reads the pattern from the call, so it is a literal.
    """
    found = [command for command in all_shown() if fnmatchcase(command.text, pattern)]
    assert found, f"no page shows {pattern!r} any more: leave it out of the test that ran it"
    return found


def shown_json(page: Path) -> Iterator[dict[str, Any]]:
    """Every JSON object of a page's blocks and spans that has no placeholder."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    yield from map(json.loads, blocks)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for found in re.finditer(r"(?:^ {4}|`|')(\{\")", rest, re.MULTILINE):
        with suppress(ValueError):
            yield json.JSONDecoder().raw_decode(rest[found.start(1) :].replace("\\|", "|"))[0]


def terminals_of(page: Path) -> list[str]:
    """What a page shows of a terminal."""
    return re.findall(r"```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
