"""The definitions of AWS's services, read once for each test process instead of once for each boto3 session."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader

_read = JSONFileLoader.load_file


@cache
def _read_once(path: str) -> Any:
    return _read(JSONFileLoader(), path)


def read_definitions_once() -> None:
    """Sessions share what they read of each file. Reading is most of what a short session costs."""
    JSONFileLoader.load_file = lambda _, file_path: _read_once(file_path)  # type: ignore[method-assign]
