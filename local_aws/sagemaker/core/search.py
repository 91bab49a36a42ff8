"""Search over the resources that run here: filters, nested expressions, order and pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from local_aws.aws_errors import validation_error
from local_aws.sagemaker.core.area import Action, Area, Document
from local_aws.service import NotHeldHere

Comparison = Callable[[Any, Any], bool]
OFFSET = re.compile(r"[0-9]{1,9}")


class SearchResources(Area):
    """The Search action over what the areas make searchable."""

    @property
    def actions(self) -> Mapping[str, Action]:
        """The one action."""
        return {"Search": self._search}

    def _search(self, request: Document) -> Document:
        kind = request["Resource"]
        found = self._documents(kind)
        expression = request.get("SearchExpression", {})
        rows = [document for document in found if _fits(document, expression)]
        rows.sort(
            key=lambda document: _sortable(_property(document, request.get("SortBy", "LastModifiedTime"))),
            reverse=request.get("SortOrder", "Descending") == "Descending",
        )
        start, size = _offset(request.get("NextToken")), request.get("MaxResults", 10)
        return {
            "Results": [{kind: document} for document in rows[start : start + size]],
            "TotalHits": {"Value": len(rows), "Relation": "EqualTo"},
            "NextToken": str(start + size) if len(rows) > start + size else None,
        }

    def _documents(self, kind: str) -> Iterable[Document]:
        for area in self.sagemaker.areas:
            documents = area.searchable().get(kind)
            if documents is not None:
                return documents()
        raise NotHeldHere


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    if OFFSET.fullmatch(token) is None:
        raise validation_error("Invalid NextToken: pass the NextToken of the previous page.")
    return int(token)


def _fits(document: Document, expression: Mapping[str, Any]) -> bool:
    """Whether a document fulfils an expression: all of its parts, or one of them where Operator is Or."""
    parts = [_passes(_property(document, part["Name"]), part) for part in expression.get("Filters", [])]
    for nested in expression.get("NestedFilters", []):
        prefix = f"{nested['NestedPropertyName']}."
        entries = _property(document, nested["NestedPropertyName"])
        entries = entries if isinstance(entries, list) else []
        filters = [{**part, "Name": part["Name"].removeprefix(prefix)} for part in nested["Filters"]]
        parts.append(any(all(_passes(_property(entry, part["Name"]), part) for part in filters) for entry in entries))
    parts += [_fits(document, inner) for inner in expression.get("SubExpressions", [])]
    if expression.get("Operator") == "Or":
        return any(parts) or not parts
    return all(parts)


def _property(document: Any, path: str) -> Any:
    """A property by its dotted path; Tags.KEY and Metrics.NAME look into the lists of pairs."""
    head, _, rest = path.partition(".")
    if head == "Tags" and rest:
        return _paired(document.get("Tags"), "Key", rest)
    if head == "Metrics" and rest:
        return _paired(document.get("FinalMetricDataList"), "MetricName", rest)
    value = document.get(head) if isinstance(document, dict) else None
    return _property(value, rest) if rest and value is not None else value


def _paired(pairs: list[Document] | None, key: str, name: str) -> Any:
    return next((pair["Value"] for pair in pairs or [] if pair[key] == name), None)


def _passes(actual: Any, part: Mapping[str, Any]) -> bool:
    operator, wanted = part.get("Operator", "Equals"), part.get("Value", "")
    if operator == "Exists":
        return actual is not None
    if operator == "NotExists":
        return actual is None
    if actual is None:
        return bool(operator == "NotEquals")
    return COMPARISONS[operator](actual, wanted)


def _comparable(actual: Any, wanted: str) -> tuple[Any, Any]:
    """Both sides as numbers, times or texts, as the property's type asks."""
    try:
        if isinstance(actual, datetime):
            moment = datetime.fromisoformat(wanted)
            return actual, moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return float(actual), float(wanted)
    except (TypeError, ValueError):
        return str(actual), wanted


def _compared(compare: Comparison) -> Comparison:
    def compared(actual: Any, wanted: Any) -> bool:
        left, right = _comparable(actual, wanted)
        return type(left) is type(right) and compare(left, right)

    return compared


COMPARISONS: Mapping[str, Comparison] = {
    "Equals": _compared(lambda actual, wanted: bool(actual == wanted)),
    "NotEquals": _compared(lambda actual, wanted: bool(actual != wanted)),
    "GreaterThan": _compared(lambda actual, wanted: bool(actual > wanted)),
    "GreaterThanOrEqualTo": _compared(lambda actual, wanted: bool(actual >= wanted)),
    "LessThan": _compared(lambda actual, wanted: bool(actual < wanted)),
    "LessThanOrEqualTo": _compared(lambda actual, wanted: bool(actual <= wanted)),
    "Contains": lambda actual, wanted: str(wanted).lower() in str(actual).lower(),
    "In": lambda actual, wanted: str(actual) in [choice.strip() for choice in str(wanted).split(",")],
}


def _sortable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, datetime):
        return (1, value.timestamp(), "")
    return (1, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))
