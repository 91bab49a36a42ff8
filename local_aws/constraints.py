"""Requests checked against botocore's own model of a service, refused in the words AWS uses."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import botocore.session
import regex  # type: ignore[import-untyped]
from botocore.model import ListShape, MapShape, OperationNotFoundError, ServiceModel, Shape, StructureShape

from local_aws.aws_errors import AwsError, not_implemented, validation_error

JSON_NAMES = {
    bool: "BOOLEAN_VALUE",
    int: "NUMBER_VALUE",
    float: "NUMBER_VALUE",
    str: "STRING_VALUE",
    list: "START_ARRAY",
    dict: "START_OBJECT",
}
TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "structure": ((dict,), "a structure"),
    "map": ((dict,), "a map"),
    "list": ((list,), "a list"),
    "string": ((str,), "a String"),
    "integer": ((int,), "an Integer"),
    "long": ((int,), "a Long"),
    "float": ((int, float), "a Float"),
    "double": ((int, float), "a Double"),
    "boolean": ((bool,), "a Boolean"),
    "timestamp": ((int, float, str), "a Timestamp"),
    "blob": ((str,), "a Blob"),
}
LARGEST = {"integer": 2**31 - 1, "long": 2**63 - 1, "float": sys.float_info.max, "double": sys.float_info.max}


UTF16_SURROGATES = r"\uD800\uDC00-\uDBFF\uDFFF"


@functools.cache
def service_model(service: str) -> ServiceModel:
    """Botocore's model of a service by its client name; raises botocore's UnknownServiceError."""
    return botocore.session.get_session().get_service_model(service)


def checked(service: str, action: str, request: Any) -> dict[str, Any]:
    """The request with its unknown and null members left out and its timestamps as datetimes in UTC.

    Raises SerializationException for a value of the wrong JSON type, and ValidationException, which names every
    violation of pattern, length, range, enum and required members that the model states.
    """
    try:
        shape = service_model(service).operation_model(action).input_shape
    except OperationNotFoundError:
        raise not_implemented(service, action) from None
    if shape is None:
        return {}
    cleaned: dict[str, Any] = _converted(shape, request, "")
    violations = list(_violations(shape, cleaned, ""))
    if violations:
        plural = "error" if len(violations) == 1 else "errors"
        raise validation_error(f"{len(violations)} validation {plural} detected: {'; '.join(violations)}")
    return cleaned


def _converted(shape: Shape, value: Any, path: str) -> Any:
    """A value of the shape's type; raises SerializationException."""
    _check_type(shape, value, path)
    if isinstance(shape, StructureShape):
        return {
            member: _converted(inner, value[member], _inner(path, member))
            for member, inner in shape.members.items()
            if value.get(member) is not None
        }
    if isinstance(shape, ListShape):
        return [_converted(shape.member, entry, f"{path}.{i}.member") for i, entry in enumerate(value, 1)]
    if isinstance(shape, MapShape):
        for key in value:
            _check_text(key, path)
        return {
            key: _converted(shape.value, entry, f"{path}.{key}") for key, entry in value.items() if entry is not None
        }
    if shape.type_name == "timestamp":
        return _moment(value, path)
    return value


def _check_type(shape: Shape, value: Any, path: str) -> None:
    accepted, name = TYPES[shape.type_name]
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        found = JSON_NAMES.get(type(value), "NULL_VALUE")
        raise AwsError(
            "SerializationException", f"{found} can not be converted to {name}{f' at {path!r}' if path else ''}"
        )
    if isinstance(value, str):
        _check_text(value, path)
    number: Any = value
    if shape.type_name in LARGEST and not abs(number) <= LARGEST[shape.type_name]:
        raise AwsError(
            "SerializationException", f"A number at {path!r} can not be converted to {name}: it is too large"
        )


def _check_text(text: str, path: str) -> None:
    """Refuse half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise AwsError(
            "SerializationException", f"A text at {path!r} is not Unicode: it has a lone surrogate"
        ) from error


def _moment(value: float | str, path: str) -> datetime:
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise AwsError(
            "SerializationException", f"{value!r} can not be converted to a Timestamp at {path!r}"
        ) from error


def _inner(path: str, member: str) -> str:
    name = member[:1].lower() + member[1:]
    return f"{path}.{name}" if path else name


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for constraint in _broken(shape, value):
        yield f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: {constraint}"
    if isinstance(shape, StructureShape):
        yield from _missing(shape, value, path)
        for member, entry in value.items():
            yield from _violations(shape.members[member], entry, _inner(path, member))
    elif isinstance(shape, ListShape):
        for i, entry in enumerate(value, 1):
            yield from _violations(shape.member, entry, f"{path}.{i}.member")
    elif isinstance(shape, MapShape):
        yield from _map_violations(shape, value, path)


def _missing(shape: StructureShape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for member in shape.required_members:
        if member not in value:
            yield f"Value null at '{_inner(path, member)}' failed to satisfy constraint: Member must not be null"


def _map_violations(shape: MapShape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, entry in value.items():
        for word, part, inner in (("keys", key, shape.key), ("value", entry, shape.value)):
            if any(True for _ in _broken(inner, part)):
                rule = f"Map {word} must satisfy constraint: [{', '.join(_limits(inner))}]"
                yield f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: {rule}"
        if isinstance(shape.value, StructureShape | ListShape | MapShape):
            yield from _violations(shape.value, entry, f"{path}.{key}.member")


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """Yield the constraints of the shape that a value breaks."""
    kind, traits = shape.type_name, shape.metadata
    if kind in ("string", "list", "map", "blob"):
        yield from _out_of_bounds(traits, len(value), "length")
    elif kind in ("integer", "long", "float", "double"):
        yield from _out_of_bounds(traits, value, "value")
    if kind == "string":
        if "enum" in traits and value not in traits["enum"]:
            yield f"Member must satisfy enum value set: [{', '.join(traits['enum'])}]"
        if "pattern" in traits and not pattern(traits["pattern"]).fullmatch(value):
            yield f"Member must satisfy regular expression pattern: {traits['pattern']}"


def _out_of_bounds(traits: Mapping[str, Any], size: float, noun: str) -> Iterator[str]:
    if "max" in traits and size > traits["max"]:
        yield f"Member must have {noun} less than or equal to {traits['max']}"
    if "min" in traits and size < traits["min"]:
        yield f"Member must have {noun} greater than or equal to {traits['min']}"


def _limits(shape: Shape) -> Iterator[str]:
    """Yield every constraint of a string shape, as AWS lists them for the keys and values of a map."""
    traits = shape.metadata
    if "max" in traits:
        yield f"Member must have length less than or equal to {traits['max']}"
    if "min" in traits:
        yield f"Member must have length greater than or equal to {traits['min']}"
    if "enum" in traits:
        yield f"Member must satisfy enum value set: [{', '.join(traits['enum'])}]"
    if "pattern" in traits:
        yield f"Member must satisfy regular expression pattern: {traits['pattern']}"


@functools.cache
def pattern(text: str) -> Any:
    """Compile a pattern of the model, which is written for Java: \\p{Alnum} and \\p{L} are known to `regex` alone."""
    return regex.compile(text.replace(UTF16_SURROGATES, r"\U00010000-\U0010FFFF"))


def _shown(value: Any) -> str:
    """A value as AWS prints it: [a, b] and {k=v}."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_shown(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_shown(entry) for entry in value) + "]"
    return str(value)
