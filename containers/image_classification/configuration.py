"""The configuration files that the service writes for a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .problems import CustomerError


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file's object, empty if there is no file; raises CustomerError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as broken:
        raise CustomerError([f"{path.name} is not JSON: {broken}"]) from broken
    if not isinstance(content, dict):
        raise CustomerError([f"{path.name} must hold a JSON object"])
    return content
