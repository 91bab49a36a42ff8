"""What is settled about splits before new images are given theirs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from include.datasets.layout import Split


@dataclass(frozen=True, slots=True)
class KnownImages:
    """What a parent says; without a parent nothing is known."""

    splits_of_keys: dict[tuple[str, str], Split] = field(default_factory=dict)
    """By bucket and key, of the images to pack: the split that their content, or another image of the key, had."""
    counts: dict[str, Counter[Split]] = field(default_factory=dict)
    """Images per class and split that have their split already."""
