from __future__ import annotations

from pathlib import Path

from include.run_conf.__main__ import reference_page

ROOT = Path(__file__).parents[3]


def test_the_reference_page_in_docs_is_the_one_the_model_writes() -> None:
    written = (ROOT / "docs" / "reference" / "run-conf.md").read_text(encoding="utf-8")
    assert written == reference_page(), "run: python -m include.run_conf > docs/reference/run-conf.md"
