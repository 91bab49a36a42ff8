"""The project's files of text, and the commands that the README shows."""

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


def readme_commands() -> list[str]:
    """Every line of an indented block, without its comment."""
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return [line.partition("  # ")[0].strip() for line in lines if not line.startswith("images in S3")]


def terminals_of_the_readme() -> list[str]:
    """What the README shows of a terminal: the demo, and the demo of a retraining."""
    return re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
