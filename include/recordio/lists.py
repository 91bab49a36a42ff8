r"""Read `.lst` files: `index \t labels ... \t path`, a line for each image.

`line_fields` and `label_number` say what a line and a label are; im2rec packs such lists, and a dataset reads them as
label tables (include.datasets), each with demands of its own.

Source: `read_list` in MXNet 1.9.1's `tools/im2rec.py`, which skips every line it cannot read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LEAST_FIELDS = 3
_LARGEST_ID = (1 << 64) - 1
_LARGEST_LABEL = 3.4028234663852886e38
_IDS_IN_BITS = 1 << 28


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A line of a list: the image's id, its labels, and its path below the root."""

    line: int
    id: int
    labels: tuple[float, ...]
    path: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that names no image: its number, and why."""

    line: int
    reason: str


def read_list(path: Path, *, same_width: bool = False) -> Iterator[ListedImage | BadLine]:
    """The lines of a list in order, blank ones left out.

    With `same_width` a line with more or fewer labels than the first one is bad: MXNet reads one width from a file.
    """
    width = 0
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            listed = _parse_line(number, text)
            if isinstance(listed, ListedImage) and same_width:
                width = width or len(listed.labels)
                if len(listed.labels) != width:
                    listed = BadLine(number, f"{len(listed.labels)} labels, the lines before have {width}")
            yield listed


@dataclass(slots=True)
class ListSurvey:
    """What a list holds: its images, its bad lines, and whatever of it is lost without a word when it is packed."""

    images: int = 0
    bad: list[BadLine] = field(default_factory=list)
    most_labels: int = 0
    repeated_ids: int = 0
    first_repeated: ListedImage | None = None


def survey_list(path: Path, *, same_width: bool) -> ListSurvey:
    """Read a list once, before hours are spent on its images. Raises OSError."""
    survey, seen = ListSurvey(), SeenIds()
    for listed in read_list(path, same_width=same_width):
        if isinstance(listed, BadLine):
            survey.bad.append(listed)
            continue
        survey.images += 1
        survey.most_labels = max(survey.most_labels, len(listed.labels))
        if not seen.add(listed.id):
            survey.repeated_ids += 1
            survey.first_repeated = survey.first_repeated or listed
    return survey


def listed_images(path: Path, *, same_width: bool) -> Iterator[ListedImage]:
    """The images of a list, its bad lines left out. Raises OSError."""
    return (listed for listed in read_list(path, same_width=same_width) if isinstance(listed, ListedImage))


def lists_of(prefix: Path) -> list[Path]:
    """The lists that a prefix stands for, in order.

    Those are `PREFIX.lst` and what `--list` makes of the prefix: `_0`, `_1` ... for chunks, then `_train`,
    `_val`, `_test`. Of a folder, all its lists; a file that ends in `.lst` stands for itself.
    """
    if prefix.is_dir():
        inside = sorted(path for path in prefix.iterdir() if path.name.endswith(".lst") and path.is_file())
        if inside:
            return inside
    if prefix.name.endswith(".lst") and prefix.is_file():
        return [prefix]
    ours = re.compile(re.escape(prefix.name) + r"(_\d+)?(_(train|val|test))?\.lst")
    return [path for path in lists_like(prefix) if ours.fullmatch(path.name)]


def lists_like(prefix: Path) -> list[Path]:
    """Every list whose name begins with the prefix's: all those that `im2rec.py` would pack."""
    if not prefix.parent.is_dir():
        return []
    names = (path for path in prefix.parent.iterdir() if path.name.startswith(prefix.name))
    return sorted(path for path in names if path.name.endswith(".lst") and path.is_file())


class SeenIds:
    """The ids that were seen, a bit for each of those that lists usually have."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._others: set[int] = set()

    def add(self, number: int) -> bool:
        """Remember an id; whether it is new."""
        if number >= _IDS_IN_BITS:
            is_new = number not in self._others
            self._others.add(number)
            return is_new
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits) + min(len(self._bits), 1 << 20)))
        is_new = not self._bits[place] & bit
        self._bits[place] |= bit
        return is_new


def line_fields(text: str) -> list[str]:
    """The fields of a line without the blanks around them: the index, the labels, the path. A list needs three."""
    return [field.strip() for field in text.strip().split("\t")]


def label_number(field: str) -> float | None:
    """The number of a label; None if it is not a finite number of 32 bits."""
    try:
        label = float(field)
    except ValueError:
        return None
    return label if math.isfinite(label) and abs(label) <= _LARGEST_LABEL else None


def _parse_line(number: int, text: str) -> ListedImage | BadLine:
    fields = line_fields(text)
    if len(fields) < LEAST_FIELDS:
        return BadLine(
            number, f"{len(fields)} field(s) between tabs; an index, one label or more, and a path are needed"
        )
    try:
        record_id = int(fields[0])
    except ValueError:
        return BadLine(number, f"the index {fields[0]!r} is not a whole number")
    if not 0 <= record_id <= _LARGEST_ID:
        return BadLine(number, f"the index {record_id} is not between 0 and 2^64 - 1")
    labels = []
    for text_label in fields[1:-1]:
        label = label_number(text_label)
        if label is None:
            return BadLine(number, f"the label {text_label!r} is not a finite number of 32 bits")
        labels.append(label)
    return ListedImage(number, record_id, tuple(labels), fields[-1])
