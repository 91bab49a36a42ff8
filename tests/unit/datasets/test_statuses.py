"""What becomes of an image is one list: manifests, documentation and what packing finds agree on it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from include.datasets.source_image import ACCOUNTED, BAD, CONTENT_FAILURES, NOT_MEANT, Status

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(\w+)` \| (yes)? ?\|", re.MULTILINE)


def test_the_words_in_manifests_stay() -> None:
    of_content = {"corrupt", "not_an_image", "unsupported", "too_small", "too_large"}
    not_meant = {"duplicate", "ignored", "skipped", "not_asked", "system_file", "unlabelled", "removed"}
    assert of_content == CONTENT_FAILURES
    assert of_content | {"missing", "changed", "conflict", "empty"} == BAD
    assert of_content | {"packed", "duplicate", "conflict", "empty"} == ACCOUNTED
    assert not_meant == NOT_MEANT
    assert set(Status) == BAD | NOT_MEANT | {"planned", "packed"}


def test_the_documentation_has_a_row_for_each_status() -> None:
    table = (ROOT / "docs/reference/datasets.md").read_text().partition("| status | bad | |")[2].partition("\n\n")[0]
    rows = dict(ROW.findall(table))
    assert set(rows) == set(Status) - {Status.PLANNED}
    assert {status for status, bad in rows.items() if bad} == BAD


def test_every_failure_that_packing_finds_is_a_status() -> None:
    found = set()
    for path in (ROOT / "include/recordio").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ImageError":
                assert isinstance(node.args[0], ast.Constant)
                found.add(node.args[0].value)
    assert found <= BAD
    assert found >= CONTENT_FAILURES
