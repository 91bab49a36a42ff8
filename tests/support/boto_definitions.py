"""The definitions of AWS's services, read once for each test process instead of once for each boto3 session."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from botocore.loaders import JSONFileLoader, Loader

READERS = ((JSONFileLoader, "load_file"), (Loader, "load_service_model"), (Loader, "list_available_services"))


def read_definitions_once() -> None:
    """Sessions share what they read of each file. Reading is most of what a short session costs."""
    for owner, name in READERS:
        reader = getattr(owner, name)
        if not hasattr(reader, "is_shared"):
            setattr(owner, name, _shared(reader))


def _shared(reader: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    @wraps(reader)
    def read(loader: Any, *arguments: Any, **named: Any) -> Any:
        key = (*getattr(loader, "search_paths", ()), *arguments, *sorted(named.items()))
        if key not in known:
            known[key] = reader(loader, *arguments, **named)
        return known[key]

    read.is_shared = True  # type: ignore[attr-defined]
    return read
