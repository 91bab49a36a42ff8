"""The project's files of text, and the commands that its pages show."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def project_files(*suffixes: str) -> Iterator[Path]:
    """Every file of the project with one of these suffixes; hidden folders hold environments and what ran here."""
    for folder, names, files in os.walk(ROOT):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__pycache__")
        yield from (Path(folder, file) for file in sorted(files) if file.endswith(suffixes))


MARKDOWN = list(project_files(".md"))


README = ROOT / "README.md"
FIRST_RUN = ROOT / "docs/tutorial/first-run.md"
"""The page of the demo."""
WRITE_UPS = ROOT / "docs/how-to/write-ups.md"


def commands_of(page: Path) -> list[str]:
    """Every line of a page's indented blocks, without its comment; a line that ends in a backslash has its next."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).replace("\\\n", " ")
    return [line.partition("  # ")[0].strip() for line in re.findall(r"^ {4,7}(\S.*)$", text, re.MULTILINE)]


def terminals_of(page: Path) -> list[str]:
    """What a page shows of a terminal."""
    return re.findall(r"```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
