from __future__ import annotations

import runpy
import sys

import pytest

from tests.unit.docs.commands import ROOT, shown
from tools.reference_pages import PAGES


def test_a_page_that_the_code_knows_is_the_one_in_docs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = shown("python tools/reference_pages.py *")
    assert sorted(command.words[-1] for command in commands) == sorted(PAGES)

    for command in commands:
        _, script, name = command.words
        monkeypatch.setattr(sys, "argv", [script, name])
        runpy.run_path(str(ROOT / script), run_name="__main__")

        page = f"docs/reference/{name}.md"
        assert (ROOT / page).read_text(encoding="utf-8") == capsys.readouterr().out, f"run: {command.text} > {page}"
