"""The targets of the Makefile that pages show: a recipe is what CI runs, or the program that a test runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.support.makefile import ENVIRONMENTS, ROOT, recipe, whole_recipe, without_make
from tests.unit.docs.commands import Shown, all_shown, shown
from tests.unit.docs.test_commands import check_python
from tools import environments

PYTHON = ".venv/bin/python"


def run_by_ci() -> list[str]:
    lines = re.findall(r"^(make [^|>\n]*\w)", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    return [line for line in lines if line != "make setup"]


def pytest_of(recipe: str) -> list[list[str]]:
    """The words after `pytest` of each of its commands in a recipe."""
    return [shlex.split(each) for each in re.findall(r"\bpytest ([^>|&;]*)", recipe)]


def test_ci_runs_what_contributors_run() -> None:
    commands = [*shown("make lint"), *shown("make test")]

    assert [command.line for command in commands] == run_by_ci()
    (ci,) = shown(".ci/run")
    assert os.access(ROOT / ci.line, os.X_OK)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"`.ci/run` is what CI runs: {' and '.join(f'`{each}`' for each in run_by_ci())}" in contributing


def test_make_lint_makes_each_check_that_a_page_shows() -> None:
    checks = " ".join(recipe(["make", "lint"]))

    for command in [*shown("*.venv/bin/ruff *"), *shown(".venv/bin/mypy"), *shown("* .venv/bin/lint-imports")]:
        assert f"{command.text} ||" in checks


def test_the_tests_of_each_page_are_part_of_make_test() -> None:
    everything = pytest_of("".join(recipe(["make", "test"])))
    places = {path for words in everything for path in words if path.startswith("tests")}
    apart = {"tests/containers", "tests/algorithms", "tests/algorithms/container_template"}
    assert places == {"tests", *apart}
    left_out = {word.removeprefix("--ignore=") for words in everything for word in words if "--ignore=" in word}
    assert left_out == places - {"tests"}

    commands = shown(".venv*/bin/python -m pytest tests/*")
    assert len(commands) >= 6
    for command in commands:
        python, _, _, *arguments = command.words
        (place,) = [word for word in arguments if word not in ("-x",)]
        path, _, name = place.replace("RESOURCE", "training").partition("::")
        assert (ROOT / path).exists(), place
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), place
        of_others = {"mxnet": "tests/containers", "pytorch": "tests/algorithms"}
        own = of_others.pop(python[6:-11], "tests")
        assert place.startswith(own) and not place.startswith(tuple(of_others.values())), place


def test_the_fuzz_of_many_examples_reads_what_make_test_reads() -> None:
    for command in shown("make fuzz*"):
        given = dict(word.split("=") for word in command.words[2:])
        text = "".join(recipe(command.words))
        parts = pytest_of(text)

        assert len(parts) == text.count("FUZZ_EXAMPLES=") == 3
        assert text.count(f"FUZZ_EXAMPLES={given.get('EXAMPLES', '2000')} ") == 2
        for words in parts:
            assert f"--hypothesis-seed={given.get('SEED', '1')}" in words
            (path,) = [word for word in words if word.startswith("tests/")]
            assert (ROOT / path).exists(), path


def environments_of(command: Shown) -> str:
    """The argument with which a target's recipe makes environments."""
    (line,) = [line for line in whole_recipe(command.words) if ENVIRONMENTS in line]
    return line.split()[-1]


def test_what_makes_environments_makes_those_that_make_test_has_made() -> None:
    made = environments.TEST_ENVIRONMENTS
    parts = {
        "setup": environments.ENVIRONMENTS,
        "sagemaker": (environments.SAGEMAKER_ENVIRONMENT,),
        "pytorch": (environments.PYTORCH_ENVIRONMENT,),
    }
    for command in [*shown("make setup"), *shown("make sagemaker"), *shown("make pytorch")]:
        assert {*parts.pop(environments_of(command))} <= {*made}
    assert parts == {}


def test_the_recipe_of_every_target_names_programs_and_options_that_are_there() -> None:
    """Those that CI cannot run too."""
    targets = {command.words for command in all_shown() if command.words[0] == "make" and len(command.words) > 1}
    assert len(targets) > 30

    for words in targets:
        text = re.sub(r"grep -q '[^']*'", "", "\n".join(whole_recipe(words)))
        (module,) = re.findall(r"\bmodule=(\S+);", text) or [""]
        programs = re.findall(r'python"? ((?:-m|tools/)[^;&|\n]*)', text.replace("$module", module))
        assert programs or words[1] in ("help", "format"), words
        for program in programs:
            check_python(shlex.split(program.replace("$((", "").replace("))", "")))


def test_make_format_formats_and_mends(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "a.py").write_text("import os\nimport sys\nprint( sys.argv )\n")

    for command in shown("make format"):
        (line,) = recipe(command.words)
        subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=60, check=False)

    assert (tmp_path / "a.py").read_text() == "import sys\n\nprint(sys.argv)\n"


def test_make_clean_removes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    for folder in (".venv", ".venv-mxnet", ".tools", ".local", "photographs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()

    for command in shown("make clean"):
        ended = subprocess.run(
            command.words, cwd=tmp_path, env=without_make(), capture_output=True, text=True, timeout=60, check=True
        )
        assert "Nothing is running." in ended.stdout

    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "benchmarks", "photographs"]
    assert (tmp_path / "photographs" / "file").exists()
