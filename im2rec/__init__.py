"""The drop-in for MXNet's `im2rec.py`, and what reads its files: `python -m im2rec`, `python -m im2rec.inspect`."""

from __future__ import annotations

from collections.abc import Callable

WRITTEN, FAILED, WRITTEN_IN_PART = 0, 1, 3
"""Exit statuses of the commands that write files."""

Say = Callable[[str], None]
"""Shows a line to the person who gave the command."""
