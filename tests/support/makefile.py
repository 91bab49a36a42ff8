"""What `make` would run, by its own account."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = "tools/environments.py"


def recipe(words: Sequence[str]) -> list[str]:
    """The lines of a target with its variables, without the one that makes the environments."""
    return [line for line in whole_recipe(words) if ENVIRONMENTS not in line]


def whole_recipe(words: Sequence[str]) -> list[str]:
    """Every line that `make TARGET VARIABLE=VALUE` would give to a shell."""
    _, *arguments = words
    command = ["make", "--dry-run", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]
    printed = subprocess.run(
        command, cwd=ROOT, env=without_make(), capture_output=True, text=True, check=True, timeout=60
    )
    return printed.stdout.replace("\\\n", " ").splitlines()


def without_make() -> dict[str, str]:
    """The environment without what a `make` that runs the tests hands on."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
