"""Tables that are sorted by any of their columns: a heading is a link to the page that is sorted by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from image_classification.ui.rendering import query

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column, and what it is sorted by; rows without a value come last."""

    name: str
    title: str
    key: Callable[[Row], Any]
    is_number: bool = False


@dataclass(frozen=True)
class Heading:
    """A column's heading as a page shows it: `order` is empty if the table is sorted by another one."""

    name: str
    title: str
    is_number: bool
    query: str
    order: str


@dataclass(frozen=True)
class Sorting(Generic[Row]):
    """How a person has asked to sort a table: by which column, the largest values first unless `up`."""

    columns: Sequence[Column[Row]]
    chosen: Column[Row]
    up: bool

    @classmethod
    def of(cls, columns: Sequence[Column[Row]], name: str, *, up: bool) -> Sorting[Row]:
        """By the column of this name; by the first one if there is none."""
        return cls(columns, next((column for column in columns if column.name == name), columns[0]), up)

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """The rows in their order; those without a value come last, whichever way."""
        keyed = [(self.chosen.key(row), row) for row in rows]
        known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=not self.up)
        return [row for _, row in known] + [row for key, row in keyed if key is None]

    def headings(self, **others: Any) -> list[Heading]:
        """The headings; a link to sort by one keeps the `others` of the page's address."""
        return [self._heading(column, others) for column in self.columns]

    def _heading(self, column: Column[Row], others: dict[str, Any]) -> Heading:
        is_chosen = column is self.chosen
        turned = "1" if is_chosen and not self.up else ""
        order = ("ascending" if self.up else "descending") if is_chosen else ""
        return Heading(column.name, column.title, column.is_number, query(**others, sort=column.name, up=turned), order)


def as_value(text: str | None) -> tuple[int, float, str] | None:
    """What a hyperparameter is sorted by: numbers by their size, then texts; None if a job was not sent it."""
    if text is None:
        return None
    try:
        return 0, float(text), ""
    except ValueError:
        return 1, 0.0, text
