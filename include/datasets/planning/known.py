"""What is settled about splits before new images are given theirs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

import pyarrow as pa

from include.datasets.layout import Split
from include.datasets.manifest import class_counts, without_labels

NO_LABEL = "\x00"
"""Images that show none of the labels are split like a class of this name, which no label has."""


@dataclass(frozen=True, slots=True)
class KnownImages:
    """What a parent says; without a parent nothing is known."""

    splits_of_keys: dict[tuple[str, str], Split] = field(default_factory=dict)
    """By bucket and key, of the images to pack: the split that their content, or another image of the key, had."""
    counts: dict[str, Counter[Split]] = field(default_factory=dict)
    """Images per class and split that have their split already."""


def settled_counts(images: pa.Table) -> dict[str, Counter[Split]]:
    """Count the images of each class by their split, those of no class under ``NO_LABEL``."""
    counts = class_counts(images)
    without = without_labels(images)
    if without.num_rows:
        counts[NO_LABEL] = Counter(cast("list[Split]", without["split"].to_pylist()))
    return counts
