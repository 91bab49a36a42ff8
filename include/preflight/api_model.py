"""Requests held against botocore's own model of an API.

botocore checks types, required members and minima before it sends; the service refuses the rest. Here are the maxima,
patterns and choices too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from botocore.session import get_session

UNICODE_CLASSES = {r"\p{L}\p{Z}\p{N}": r"\w\s", r"\p{L}": r"^\W\d_", r"\P{M}\p{M}": r"\s\S"}
"""Classes that Java's patterns know and Python's do not, as they occur in the model."""


@dataclass(frozen=True)
class Violation:
    """A value that the service would refuse; `path` is dotted, as in `ResourceConfig.InstanceType`."""

    path: str
    value: Any
    rule: str


def violations(service: str, operation: str, request: Mapping[str, Any]) -> list[Violation]:
    """What the model of an operation forbids in a request: patterns, lengths, ranges, choices, absent members."""
    shape = _service_model(service).operation_model(operation).input_shape
    return list(_of(shape, request, "")) if shape else []


@cache
def _service_model(service: str) -> ServiceModel:
    return get_session().get_service_model(service)


def _of(shape: Shape, value: Any, path: str) -> Iterator[Violation]:
    if isinstance(shape, StructureShape):
        yield from _structure(shape, value, path)
    elif isinstance(shape, ListShape):
        yield from _within(shape, len(value), value, path, "entries")
        for entry in value:
            yield from _of(shape.member, entry, path)
    elif isinstance(shape, MapShape):
        yield from _within(shape, len(value), value, path, "entries")
        for key, inner in value.items():
            yield from _of(shape.key, key, _joined(path, key))
            yield from _of(shape.value, inner, _joined(path, key))
    elif isinstance(value, str):
        yield from _text(shape, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _within(shape, value, value, path, "")


def _structure(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[Violation]:
    for name in shape.required_members:
        if name not in value:
            yield Violation(_joined(path, name), None, "is missing")
    for name, inner in value.items():
        if name in shape.members:
            yield from _of(shape.members[name], inner, _joined(path, name))
        else:
            yield Violation(_joined(path, name), inner, "is unknown to the API")


def _text(shape: Shape, value: str, path: str) -> Iterator[Violation]:
    choices = shape.metadata.get("enum")
    if choices and value not in choices:
        yield Violation(path, value, f"must be one of {', '.join(choices)}")
    yield from _within(shape, len(value), value, path, "characters")
    pattern = shape.metadata.get("pattern")
    if pattern and not _compiled(pattern).fullmatch(value):
        yield Violation(path, value, f"must match {pattern}")


def _within(shape: Shape, size: float, value: Any, path: str, unit: str) -> Iterator[Violation]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    counted = f" {unit}" if unit else ""
    if low is not None and size < low:
        yield Violation(path, value, f"must have at least {low}{counted}" if unit else f"must be at least {low}")
    if high is not None and size > high:
        has = f" and has {size:g}" if unit else ""
        yield Violation(path, value, f"may {'have' if unit else 'be'} at most {high}{counted}{has}")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for java, python in UNICODE_CLASSES.items():
        pattern = pattern.replace(java, python)
    return re.compile(pattern)
