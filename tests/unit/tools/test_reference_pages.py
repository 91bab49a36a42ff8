from __future__ import annotations

import pytest

from tests.unit.docs.commands import ROOT
from tools.reference_pages import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_the_code_knows_is_the_one_in_docs(name: str) -> None:
    command = f"python tools/reference_pages.py {name} > docs/reference/{name}.md"

    assert (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8") == PAGES[name](), f"run: {command}"
