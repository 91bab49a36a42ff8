"""Links between the project's Markdown files, and from them to its other files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.commands import MARKDOWN, ROOT, project_files

KINDS = ("tutorial", "how-to", "reference", "explanation")


def without_code(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def links(page: Path) -> list[tuple[str, str]]:
    """Each relative link of a page: the path, and the anchor or an empty text."""
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", without_code(page))
    targets = ["".join(pair) for pair in found]
    return [(path, anchor) for path, _, anchor in (t.partition("#") for t in targets if "://" not in t)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    names: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        names.add(name if name not in names else f"{name}-1")
    return names


def test_there_are_pages_of_every_room() -> None:
    assert len(MARKDOWN) >= 30


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {path}"
        assert target.is_relative_to(ROOT), f"{page.relative_to(ROOT)} links to {path}, which is outside of the project"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.relative_to(ROOT)} links to {path}#{anchor}"


def test_a_page_is_a_tutorial_a_how_to_a_reference_or_an_explanation_and_the_index_lists_it() -> None:
    docs = ROOT / "docs"
    listed = {(docs / path).resolve() for path, _ in links(docs / "README.md")}

    for page in docs.rglob("*.md"):
        if page.parent != docs:
            assert page.parent.name in KINDS
            assert page in listed, f"docs/README.md does not list {page.relative_to(docs)}"
    assert [page.name for page in docs.glob("*.md")] == ["README.md"]


def test_a_path_below_docs_that_is_mentioned_anywhere_exists() -> None:
    """In code, messages, comments and pages alike; the changelog also says what was."""
    for file in project_files(".py", ".md", ".yaml", ".yml", ".in", ".toml"):
        if file.name != "CHANGELOG.md":
            for path in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.(?:md|json|png)\b", file.read_text(encoding="utf-8")):
                assert (ROOT / path).exists(), f"{file.relative_to(ROOT)} mentions {path}"
