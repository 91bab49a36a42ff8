from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.docs.commands import ROOT
from tools.plain_english import Rule, check, files, glossary, main

RULES = glossary()
PYTHON = '''
"""A folder that `tells` nothing."""

told = {"told": 1}  # a name and a key are not prose


def count(told: int) -> str:
    """The number; nobody waits
    for it."""
    # A comment that goes
    # on in the next line.
    return f"{told} images, a line each"
'''


def phrases(name: str, text: str) -> list[tuple[int, str]]:
    return sorted((found.line, found.phrase) for found in check(name, text, RULES))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.finds)
def test_a_rule_finds_its_example_and_leaves_alone_what_it_names(rule: Rule) -> None:
    assert rule.pattern.search(rule.finds)
    assert not any(rule.pattern.search(text) for text in rule.leaves)
    assert not rule.pattern.search(rule.write)


def test_texts_and_comments_of_python_are_read_and_its_names_are_not() -> None:
    assert phrases("module.py", PYTHON) == [(8, "nobody waits"), (10, "goes on"), (12, "a line each")]


def test_code_and_addresses_of_a_page_are_not_read() -> None:
    page = "It tells\n\n    the command tells\n\n```text\ntells\n```\n\n`tells` [a page](tells.md) of one's\nown\n"

    assert phrases("page.md", page) == [(1, "tells"), (9, "one's own")]


def test_what_a_template_fills_in_and_a_script_computes_is_not_read() -> None:
    assert phrases("page.html", "<p class='told'>{{ told }} {% if told %}it tells{% endif %}</p>") == [(1, "tells")]
    assert phrases("page.js", 'const told = "it tells"; // goes on\ntold.append(`${told}`);') == [
        (1, "goes on"),
        (1, "tells"),
    ]
    assert phrases("page.js", "say(`${told} tells\n${count} of so many`);") == [(1, "tells"), (2, "of so many")]


def test_it_names_file_line_and_phrase_and_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text("A page.\nNobody waits for it.\n")
    monkeypatch.setattr("tools.plain_english.ROOT", tmp_path)

    assert main([]) == 1

    assert capsys.readouterr().out.startswith("page.md:2: 'Nobody waits': write: ")


def test_it_reads_every_room() -> None:
    read = files()

    assert {"README.md", "docs/README.md", "dags/train_model.py", "include/settings.py", "Makefile"} <= {*read}
    assert all((ROOT / name).is_file() for name in read)
