"""The names behind the numbers by which a ``.lst`` file calls classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from include.datasets.sources.label_rows import LabelRows
from include.datasets.sources.table_formats import FIELD, LabelTableError

EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class ClassNames:
    """Names in the order of their numbers, 0 being the first, and where they come from."""

    origin: str
    """``dataset.labels``, or ``dataset.labels_file`` with its address."""
    names: Sequence[str]
    complete: bool
    """They are the names of all classes, of which a version may take some."""


def are_numbers(names: Iterable[str]) -> bool:
    """Tell whether names are numbers themselves, written as a class without a name is called."""
    return all(name.isdecimal() and str(int(name)) == name for name in names)


def named_by_number(rows: LabelRows, columns: Sequence[str], given: ClassNames | None) -> tuple[str, ...]:
    """Name the classes of rows whose labels are numbers; return them in the order of their numbers.

    ``columns`` are the numbers of the columns where there are several. Without names a class is called by its number,
    and so it is where ``dataset.labels`` names nothing but numbers that are there: it chooses among them then. Raises
    LabelTableError where there are fewer names than numbers, or, unless they are complete, more.
    """
    numbers = sorted(map(int, columns or rows.labels))
    if given is None or (not given.complete and set(given.names) <= set(map(str, numbers))):
        return tuple(map(str, numbers))
    count = numbers[-1] + 1 if numbers else 0
    exact = bool(columns) or not given.complete
    if len(given.names) < count or (exact and len(given.names) != count):
        beyond = {str(number) for number in numbers if number >= len(given.names)}
        raise LabelTableError(
            f"{FIELD} {', '.join(rows.tables)}: the classes are numbered from 0 to {count - 1}, but {given.origin} "
            f"names {len(given.names)}{_first_beyond(rows, beyond)}: name all {count} in the order of their numbers"
            + ("" if given.complete else ", or in dataset.labels_file, and choose some in dataset.labels")
        )
    names = given.names
    rows.rename(lambda number: names[int(number)])
    return tuple(names[number] for number in numbers)


def _first_beyond(rows: LabelRows, beyond: set[str]) -> str:
    found = (f"line {row.line}: {max(row.labels, key=int)}" for row in rows if not beyond.isdisjoint(row.labels))
    shown = "; ".join(islice(found, EXAMPLES)) if beyond else ""
    return f" ({shown})" if shown else ""
