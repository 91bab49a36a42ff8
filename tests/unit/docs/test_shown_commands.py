"""Every command that a page shows is run by a test, which takes its words from the page, or is listed with a reason.

A test runs what it asks for by `shown("make stack*")`. So the calls of `shown` are the list of what is run.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

import pytest

from tests.unit.docs.commands import ROOT, Shown, all_shown, shown

ENGINE = "needs a Docker engine, which the machine of CI does not have"
MEASURES = "measures for minutes on a machine that does nothing else; speed is never asserted in a test"
INDEX = "resolves or downloads packages for minutes, from indexes that CI may not reach"
NOT_RUN: Mapping[str, str] = {
    "make up": ENGINE,
    "make compose-down": ENGINE,
    "make test-compose": ENGINE,
    "make test-docker": ENGINE,
    "docker *": ENGINE,
    "make bench-*": MEASURES,
    "python -m benchmarks.pages --write": f"{MEASURES}, and writes the figures into the page",
    "make chaos*": "takes hours; tests/end_to_end/test_chaos.py is the same ordeal with two runs",
    "KILLED_RETRAININGS=20 *": "takes twenty times as long as with the one seed that `make test` draws",
    "make test-demos": "trains for ten minutes, so it is run by hand",
    "make lock": INDEX,
    "pip install *": INDEX,
    "make pytorch TORCH_INDEX=ADDRESS": INDEX,
    "make test-mwaa CONSTRAINTS=FILE": f"{INDEX}; FILE is in a repository of AWS",
    "make test-python": "needs two more Pythons; its tests are those that `make test` runs on 3.11",
    "duckdb *": "needs DuckDB, which the project does not install",
    "git stash*": "puts the changes of the checkout aside",
    "git bisect *": "checks out one commit after the other",
    "aws s3 cp": "names the program that `make bench-datasets` measures",
}
"""Patterns of commands that no test runs, and why. Whatever can be run cheaply is not here but in a test."""
PLACES = ("tests/compose/", "tests/docker/", "tests/unit/docs/test_shown_commands.py")
"""Where a call of `shown` runs nothing in CI."""


@cache
def run_by() -> Mapping[str, list[str]]:
    """The tests' files by each pattern that they ask for."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name, source = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        if "shown(" in source and "tests.unit.docs.commands import" in source and not name.startswith(PLACES):
            for pattern in patterns_of(source, name):
                found.setdefault(pattern, []).append(name)
    return found


def patterns_of(source: str, name: str) -> list[str]:
    """What a test's source asks `shown` for."""
    patterns = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "shown":
            (pattern,) = node.args
            assert isinstance(pattern, ast.Constant), f"{name}:{node.lineno}: give `shown` its pattern as a literal"
            patterns.append(str(pattern.value))
    return patterns


def ways(command: Shown, tests: Mapping[str, list[str]], not_run: Mapping[str, str]) -> list[str]:
    """Where a command is run, or why it is not."""
    by_tests = [file for pattern, files in tests.items() if fnmatchcase(command.text, pattern) for file in files]
    return by_tests + [reason for pattern, reason in not_run.items() if fnmatchcase(command.text, pattern)]


def is_name(command: Shown) -> bool:
    """Whether running text only names the program that commands of the pages begin with, as `.local/run` does."""
    words = program(command)
    longer = [program(other) for other in all_shown() if len(other.words) > len(command.words)]
    return command.is_named and words[0] != "make" and any(other[: len(words)] == words for other in longer)


def program(command: Shown) -> list[str]:
    """The words, without the folder of an interpreter and without a COMMAND that stands for any."""
    first, *rest = command.words
    return [first.removeprefix(".venv/bin/"), *(word for word in rest if word != "COMMAND")]


def faults(commands: tuple[Shown, ...], tests: Mapping[str, list[str]], not_run: Mapping[str, str]) -> list[str]:
    """What keeps a command from having exactly one way."""
    found = []
    for command in commands:
        where, page = ways(command, tests, not_run), command.page.relative_to(ROOT)
        if not where and not is_name(command):
            found.append(
                f"{page} shows `{command.text}`, which no test runs. Let a test ask for it with "
                f"shown({command.text!r}), run its words and check what comes of it. If CI cannot run it, add it to "
                "NOT_RUN with the reason."
            )
        if len(set(where)) > 1:
            found.append(f"`{command.text}` of {page} has more than one way, keep one: {', '.join(sorted(set(where)))}")
    texts = [command.text for command in commands]
    idle = [pattern for pattern in not_run if not any(fnmatchcase(text, pattern) for text in texts)]
    return found + [f"NOT_RUN has {pattern!r}, which no page shows any more: remove it" for pattern in idle]


def test_every_command_that_a_page_shows_is_run_by_one_test_or_has_a_reason() -> None:
    assert faults(all_shown(), run_by(), NOT_RUN) == []


def test_what_a_test_asks_for_is_shown() -> None:
    for pattern in run_by():
        assert shown(pattern)


def test_a_command_without_a_way_with_two_and_a_reason_without_a_command_are_reported() -> None:
    page = ROOT / "README.md"
    new = Shown("make new", (), ("make", "new"), page, is_named=True)

    (without,) = faults((new,), {}, {})
    (twice,) = faults((new,), {"make n*": ["tests/a.py"]}, {"make new": "takes hours"})
    (idle,) = faults((), {}, {"make old": "takes hours"})

    assert without.startswith("README.md shows `make new`, which no test runs. Let a test ask for it with shown('make")
    assert "keep one: takes hours, tests/a.py" in twice
    assert "'make old'" in idle
    assert faults((new,), {"make new": ["tests/a.py"]}, {}) == []


def test_a_pattern_is_a_literal() -> None:
    with pytest.raises(AssertionError, match=r"tests/a\.py:1: give `shown` its pattern as a literal"):
        patterns_of("shown(name)", "tests/a.py")
    assert patterns_of('shown("make *")\nother(1)', "tests/a.py") == ["make *"]
