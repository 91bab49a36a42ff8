"""Which split an image belongs to: decided by its content and a seed, once and for ever."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from include.datasets.layout import SPLITS, Split


class SplitShares(Protocol):
    """The shares of a split; training takes what validation and test leave."""

    @property
    def validation(self) -> float:
        """Share of the validation split, 0 to 1."""

    @property
    def test(self) -> float:
        """Share of the test split, 0 to 1."""

    @property
    def seed(self) -> int:
        """Another seed is another split."""


def fraction(seed: int, purpose: str, etag: str) -> float:
    """Spread ETags evenly over [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{etag}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def natural_split(etag: str, shares: SplitShares) -> Split:
    """Return the split that an image's content and the seed give it, whatever other images there are."""
    point = fraction(shares.seed, "split", etag)
    for split, (low, high) in _intervals(shares).items():
        if low <= point < high:
            return split
    return "train"


def assign_splits(
    images: Mapping[str, str], shares: SplitShares, *, settled: Mapping[str, Counter[Split]]
) -> dict[str, Split]:
    """Give each new image (ETag -> class) its split.

    It is the natural one, except where a class would have no image at all in a wanted split: then the image nearest to
    that split's interval moves there, training being served first, then validation, then test. ``settled`` counts the
    images per class that have their split already; those never move.
    """
    assigned = {etag: natural_split(etag, shares) for etag in images}
    by_class: dict[str, list[str]] = {}
    for etag, label in images.items():
        by_class.setdefault(label, []).append(etag)
    for label, etags in by_class.items():
        _fill_empty_splits(sorted(etags), assigned, settled.get(label, Counter()), shares)
    return assigned


def _fill_empty_splits(
    etags: Sequence[str], assigned: dict[str, Split], settled: Counter[Split], shares: SplitShares
) -> None:
    intervals = _intervals(shares)
    wanted = [split for split in SPLITS if intervals[split][1] > intervals[split][0]]
    counts = Counter(settled)
    counts.update(assigned[etag] for etag in etags)
    for rank, split in enumerate(wanted):
        if counts[split]:
            continue
        spare = [etag for etag in etags if counts[assigned[etag]] > 1 or assigned[etag] in wanted[rank + 1 :]]
        if spare:
            moved = min((_distance(etag, intervals[split], shares.seed), etag) for etag in spare)[1]
            counts[assigned[moved]] -= 1
            counts[split] += 1
            assigned[moved] = split


def _distance(etag: str, interval: tuple[float, float], seed: int) -> float:
    point = fraction(seed, "split", etag)
    return max(interval[0] - point, point - interval[1], 0.0)


def _intervals(shares: SplitShares) -> dict[Split, tuple[float, float]]:
    held_out = shares.test + shares.validation
    return {"test": (0.0, shares.test), "validation": (shares.test, held_out), "train": (held_out, 1.0)}
