"""The demos, as their targets of the Makefile start them."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from demo.__main__ import main as program
from demo.services import PACE
from tests.support.live_airflow import QUICK
from tests.support.makefile import recipe

UNHURRIED = {name: QUICK[name] for name in PACE}
"""Where no DAG has to be watched as soon as it is unpaused, reading all DAG files again takes a tenth of a core."""


def run_target(words: Sequence[str], state: Path, *, pace: Mapping[str, str] = PACE, **environment: str) -> str:
    """Run the program of a target's recipe in this process, with another folder in the place of `.local`.

    What it prints is also what pytest shows of a test that fails.
    """
    (line,) = recipe(words)
    arguments = re.findall(r"\.venv/bin/python -m demo (\w+)", line)
    terminal = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(terminal):
        for module in ("demo.run", "demo.services"):
            patch.setattr(f"{module}.STATE", state)
        patch.setattr("demo.services.PACE", pace)
        for name, value in environment.items():
            patch.setenv(name, value)
        ended = program(arguments)
    sys.stdout.write(terminal.getvalue())
    assert ended == 0
    return terminal.getvalue()
