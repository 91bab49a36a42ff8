"""Tables of named resources, with the filters, orders and pages that all List actions of SageMaker share."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from local_aws.aws_errors import AwsError, validation_error
from local_aws.sagemaker.core.area import Document

SortKey = str | float
TEXT_KEYS = frozenset({"Name", "Status"})
SORT_KEYS: Mapping[str, Callable[[Any], SortKey]] = {
    "Name": lambda resource: str(resource.name),
    "CreationTime": lambda resource: float(resource.creation_time.timestamp()),
    "LastModifiedTime": lambda resource: float(resource.last_modified_time.timestamp()),
    "Status": lambda resource: str(resource.status),
}


class Resource(Protocol):
    """What every listed resource knows of itself."""

    @property
    def name(self) -> str:
        """The name, unique in its table."""

    @property
    def status(self) -> str:
        """The API's status; empty where the resource has none."""

    @property
    def creation_time(self) -> datetime:
        """When it was created, with a time zone."""

    @property
    def last_modified_time(self) -> datetime:
        """When it last changed, with a time zone."""


R = TypeVar("R", bound=Resource)


def now() -> datetime:
    """The time in UTC, to the millisecond, as the API gives it out."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class ResourceTable(Generic[R]):
    """Thread-safe resources by name, in order of creation.

    `taken` makes the error for a name that exists already, `unknown` the one for a name that does not.
    """

    def __init__(self, *, taken: Callable[[R], AwsError], unknown: Callable[[str], AwsError]) -> None:
        self._taken = taken
        self._unknown = unknown
        self._lock = threading.RLock()
        self._resources: dict[str, R] = {}

    def add(self, resource: R) -> None:
        """Keep a new resource; raises what `taken` makes when its name exists."""
        with self._lock:
            existing = self._resources.get(resource.name)
            if existing is not None:
                raise self._taken(existing)
            self._resources[resource.name] = resource

    def find(self, name: str) -> R | None:
        """The resource of that name, or None."""
        with self._lock:
            return self._resources.get(name)

    def get(self, name: str) -> R:
        """The resource of that name; raises what `unknown` makes."""
        resource = self.find(name)
        if resource is None:
            raise self._unknown(name)
        return resource

    def remove(self, name: str) -> R:
        """Take the resource out of the table and return it; raises what `unknown` makes."""
        with self._lock:
            resource = self.get(name)
            del self._resources[name]
            return resource

    def all(self) -> list[R]:
        """What the table holds now, oldest first."""
        with self._lock:
            return list(self._resources.values())

    def page(
        self,
        request: Mapping[str, Any],
        key: str,
        summary: Callable[[R], Document],
        *,
        keep: Callable[[R], bool] = lambda _: True,
        sort_keys: Mapping[str, Callable[[R], SortKey]] | None = None,
        sort_order: str = "Ascending",
        sort_by: str = "CreationTime",
    ) -> Document:
        """One page of a List action over the resources that `keep` lets pass, as `page_of` makes it."""
        kept = filter(keep, self.all())
        return page_of(kept, request, key, summary, sort_keys=sort_keys, sort_by=sort_by, sort_order=sort_order)


def page_of(
    resources: Iterable[R],
    request: Mapping[str, Any],
    key: str,
    summary: Callable[[R], Document],
    *,
    sort_keys: Mapping[str, Callable[[R], SortKey]] | None = None,
    sort_by: str = "CreationTime",
    sort_order: str = "Ascending",
) -> Document:
    """One page of a List action as `{key: [summary, ...], "NextToken": ...}`.

    Understands NameContains, CreationTimeAfter/Before, LastModifiedTimeAfter/Before, StatusEquals, SortBy, SortOrder,
    MaxResults (100 where absent) and NextToken of the request; `sort_keys` adds values of SortBy, `sort_by` and
    `sort_order` are the action's defaults. Raises ValidationException for a foreign NextToken.
    """
    sort_by = request.get("SortBy", sort_by)
    sort_key = {**SORT_KEYS, **(sort_keys or {})}[sort_by]
    backwards = request.get("SortOrder", sort_order) == "Descending"
    rows = [
        (sort_key(resource), resource.creation_time.timestamp(), resource.name, resource)
        for resource in resources
        if _matches(resource, request)
    ]
    rows.sort(key=lambda row: row[:3], reverse=backwards)
    if "NextToken" in request:
        last = _read_token(request["NextToken"], str if sort_by in TEXT_KEYS else float)
        rows = [row for row in rows if (row[:3] < last if backwards else row[:3] > last)]
    size = int(request.get("MaxResults", 100))
    page: Document = {key: [summary(row[3]) for row in rows[:size]]}
    if len(rows) > size:
        page["NextToken"] = _make_token(rows[size - 1][:3])
    return page


def _matches(resource: Resource, request: Mapping[str, Any]) -> bool:
    """Whether a resource passes the filters of a List request; times are datetimes with a zone."""
    return (
        request.get("NameContains", "").lower() in resource.name.lower()
        and request.get("StatusEquals", resource.status) == resource.status
        and _within(resource.creation_time, request, "CreationTime")
        and _within(resource.last_modified_time, request, "LastModifiedTime")
    )


def _within(moment: datetime, request: Mapping[str, Any], field: str) -> bool:
    after, before = request.get(f"{field}After"), request.get(f"{field}Before")
    return (after is None or moment > after) and (before is None or moment < before)


def _make_token(position: tuple[SortKey, float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _read_token(token: str, kind: type[SortKey]) -> tuple[SortKey, float, str]:
    try:
        key, created, name = json.loads(base64.urlsafe_b64decode(token))
        if isinstance(key, kind) and isinstance(created, float) and isinstance(name, str):
            return key, created, name
    except (binascii.Error, ValueError, TypeError):
        pass
    raise validation_error("Invalid NextToken: pass the NextToken of the previous page, with the same SortBy.")
