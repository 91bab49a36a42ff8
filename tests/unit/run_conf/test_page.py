from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from include.run_conf.__main__ import reference_page

ROOT = Path(__file__).parents[3]


def test_the_reference_page_in_docs_is_the_one_the_model_writes() -> None:
    written = (ROOT / "docs" / "run-conf.md").read_text(encoding="utf-8")
    assert written == reference_page(), "run: python -m include.run_conf > docs/run-conf.md"


def test_the_command_prints_the_page() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "include.run_conf"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == reference_page()
