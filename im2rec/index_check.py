r"""Check an ``.idx`` (``key \t byte offset \n``) against the records it shall lead to."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_MOST_FAULTS = 10
_NUMBER = re.compile(rb"0*[0-9]{1,19}")
"""A number that 64 bits hold."""


@dataclass(slots=True)
class IndexCheck:
    """What an index holds, and the first things that are wrong with it.

    ``foreign_keys`` counts the lines whose key is not the id in the record: MXNet reads such a file all the same.
    """

    lines: int = 0
    foreign_keys: int = 0
    faults: list[str] = field(default_factory=list)

    def complain(self, fault: str) -> None:
        """Keep one of the first faults."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)


def check_index(lines: Iterable[bytes], offsets: Sequence[int], ids: Sequence[int]) -> IndexCheck:
    """Check the lines of an index against where the records of a file begin and the ids they hold, in order."""
    check = IndexCheck()
    ids_at = array("Q")
    found = array("Q")
    for number, line in enumerate(lines, start=1):
        key, tab, offset = line.rstrip(b"\r\n").partition(b"\t")
        if not (tab and _NUMBER.fullmatch(key.strip()) and _NUMBER.fullmatch(offset.strip())):
            check.complain(f"line {number}: {line[:60]!r} is no key and byte offset")
            continue
        check.lines += 1
        ids_at.append(int(key.strip().lstrip(b"0") or 0))
        found.append(int(offset.strip().lstrip(b"0") or 0))
    _compare(check, ids_at, found, offsets, ids)
    return check


def _compare(
    check: IndexCheck, keys: Sequence[int], found: Sequence[int], offsets: Sequence[int], ids: Sequence[int]
) -> None:
    order = sorted(range(len(found)), key=found.__getitem__)
    place = 0
    for line in order:
        while place < len(offsets) and offsets[place] < found[line]:
            check.complain(f"the record at byte {offsets[place]} is not in it")
            place += 1
        if place == len(offsets) or offsets[place] != found[line]:
            check.complain(f"key {keys[line]}: no record begins at byte {found[line]}, or a key before leads there")
            continue
        check.foreign_keys += keys[line] != ids[place]
        place += 1
    if place < len(offsets):
        check.complain(f"{len(offsets) - place} records from byte {offsets[place]} on are not in it")
