"""What boto3 derives from the definitions of AWS's services, made once for each test process and not for each session.

Sessions then share the definitions, and clients the models and methods made of them. What is left of a session is
mostly how it registers some two hundred handlers, each under a name that is looked up in a list.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from botocore import hooks, useragent, utils
from botocore.client import ClientCreator
from botocore.loaders import JSONFileLoader, Loader

READERS = ((JSONFileLoader, "load_file"), (Loader, "load_service_model"), (Loader, "list_available_services"))


def read_definitions_once() -> None:
    """Let sessions and clients share what they read and derive: most of what a short session costs."""
    for owner, name in READERS:
        _share(owner, name, lambda loader: tuple(getattr(loader, "search_paths", ())))
    _share(ClientCreator, "_load_service_model", lambda creator: tuple(creator._loader.search_paths))
    _share(ClientCreator, "_create_methods", type, copied=dict)
    _share(hooks.EventAliaser, "_alias_event_name", type)
    hooks.accepts_kwargs = _takes_any_name
    useragent.sanitize_user_agent_string_component = _sanitized
    utils._parse_timestamp_with_tzinfo = _moment


_read_moment = cache(utils._parse_timestamp_with_tzinfo)


def _moment(value: Any, tzinfo: Any) -> Any:
    """A moment of an answer; a text, as each object of a listing has one, is read once."""
    if isinstance(value, str):
        return _read_moment(value, tzinfo)
    return _read_moment.__wrapped__(value, tzinfo)


_sanitized = cache(useragent.sanitize_user_agent_string_component)
"""A part of the user agent, which clients put together again for each call, character by character."""


def _share(owner: type, name: str, kind: Callable[[Any], Any], *, copied: Callable[[Any], Any] | None = None) -> None:
    """Let what a method returns be shared by all callers of one kind that call it with equal arguments."""
    read = getattr(owner, name)
    if hasattr(read, "is_shared"):
        return
    known: dict[Any, Any] = {}

    @wraps(read)
    def read_once(self: Any, *arguments: Any, **named: Any) -> Any:
        key = (kind(self), *arguments, *sorted(named.items()))
        if key not in known:
            known[key] = read(self, *arguments, **named)
        return copied(known[key]) if copied else known[key]

    read_once.is_shared = True  # type: ignore[attr-defined]
    setattr(owner, name, read_once)


def _takes_any_name(handler: Callable[..., Any]) -> bool:
    """Whether a handler takes arguments of any name, as its code says; botocore derives its whole signature first."""
    code = getattr(handler, "__code__", None)
    if code is None:
        return inspect.getfullargspec(handler).varkw is not None
    return bool(code.co_flags & inspect.CO_VARKEYWORDS)
