"""The commands that the README shows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def readme_commands() -> list[str]:
    """Every line of an indented block, without its comment."""
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    return [line.partition("  # ")[0].strip() for line in lines if not line.startswith("images in S3")]


def terminals_of_the_readme() -> list[str]:
    """What the README shows of a terminal: the demo, and the demo of a retraining."""
    return re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
