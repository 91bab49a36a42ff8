"""The conventions of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.commands import ROOT

ROOMS = (
    "algorithms",
    "benchmarks",
    "containers",
    "dags",
    "demo",
    "examples",
    "im2rec",
    "include",
    "local_aws",
    "plugins",
    "tests",
    "tools",
)
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}
ONE_THING = {"records", "progress", "selection", "page", "findings", "network", "listing", "problems"}
"""Names that several rooms once had for different things. `problems` are problems in `include` and the container."""


def modules(*rooms: str) -> list[Path]:
    found = [path for room in rooms or ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in found if not {"__pycache__", ".local"} & {*path.parts}]


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_say_what_a_thing_is_with_single_backticks(room: str) -> None:
    for path in modules(room):
        for text in docstrings(ast.parse(path.read_text())):
            assert not text.startswith(("Return ", "Returns ")), f"{path}: {text}"
            assert not re.search(r"(?<!`)``(?!`)", text), f"{path}: {text}"


def test_the_logger_of_a_module_is_called_log() -> None:
    named = re.compile(r"^(\w+)(?:: [\w.]+)? = logging\.getLogger\(__name__\)", re.MULTILINE)
    names = {name for path in modules() for name in named.findall(path.read_text())}

    assert names == {"log"}


def test_no_module_is_called_after_nothing() -> None:
    assert not FORBIDDEN_NAMES & {path.stem for path in modules()}


@pytest.mark.parametrize("name", sorted(ONE_THING))
def test_modules_of_one_name_are_about_one_thing(name: str) -> None:
    found = [path for path in modules(*(room for room in ROOMS if room != "tests")) if path.stem == name]

    assert len(found) <= (2 if name == "problems" else 1), found


def test_include_has_at_most_120_files() -> None:
    assert len(modules("include")) <= 120


def test_runs_with_tasks_are_made_in_airflows_database_in_one_place() -> None:
    making = re.compile(r"[\w\])]\.create_dagrun\(")
    places = [path.relative_to(ROOT).as_posix() for path in modules("tests") if making.search(path.read_text())]
    assert places == ["tests/support/made_runs.py"]
