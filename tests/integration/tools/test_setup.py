"""`make` on machines that lack something: one line that says what, and a failure, not a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.commands import shown

ROOT = Path(__file__).resolve().parents[3]
UNREACHABLE = "http://127.0.0.1:9/simple"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for part in ("Makefile", "tools", "requirements.txt", "requirements-local.txt"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
    for part in ("local_aws", "containers/image_classification"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env={**plain, **environment}, capture_output=True, text=True, check=False
    )


def complaints(ended: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in ended.stderr.splitlines() if not line.startswith("make")]


def test_without_a_package_index_setup_says_so_in_one_line(checkout: Path) -> None:
    ended = make(
        checkout,
        "setup",
        f"PYTHON={sys.executable}",
        PIP_INDEX_URL=UNREACHABLE,
        PIP_CONFIG_FILE=os.devnull,
        PIP_NO_CACHE_DIR="1",
    )

    assert ended.returncode != 0
    (complaint,) = complaints(ended)
    assert "the package index cannot be reached" in complaint


def test_an_old_python_is_named_in_one_line(checkout: Path) -> None:
    old = checkout / "old-python"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])' \"$2\"\n"
    )
    old.chmod(0o755)

    ended = make(checkout, "setup", f"PYTHON={old}")

    assert ended.returncode != 0
    (complaint,) = complaints(ended)
    assert "Python 3.11 is needed" in complaint
    assert "3.9" in complaint


def test_without_constraints_the_test_under_mwaas_says_where_they_are(checkout: Path) -> None:
    (command,) = shown("make test-mwaa")

    ended = make(checkout, *command.words[1:], f"PYTHON={sys.executable}")

    assert ended.returncode != 0
    (complaint,) = complaints(ended)
    assert "make test-mwaa CONSTRAINTS=FILE" in complaint


def test_the_menu_names_every_command_of_the_readme(checkout: Path) -> None:
    (alone,), (named,) = shown("make"), shown("make help")

    ended = make(checkout, *alone.words[1:])

    assert ended.stdout == make(checkout, *named.words[1:]).stdout
    for target in ("setup", "demo", "local", "down", "test", "lint", "lock", "up", "test-compose", "sagemaker"):
        assert f"make {target} " in ended.stdout
