"""Which split an image belongs to: decided by its content and a seed, once and for ever."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from include.datasets.layout import SPLITS, Split

Intervals = dict[Split, tuple[float, float]]


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

    @property
    def train_per_class(self) -> int | None:
        """Training images of each class; the rest is shared by validation and test. None: the shares say it."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares that were worked out from others."""

    validation: float
    test: float
    seed: int
    train_per_class: int | None = None


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
    images: Mapping[str, Sequence[str]], shares: SplitShares, *, settled: Mapping[str, Counter[Split]]
) -> dict[str, Split]:
    """Give each new image (ETag -> its classes) its split.

    It is the natural one, or with ``train_per_class`` training for so many of a class and the natural one of the others
    for the rest. Where a class would have no image at all in a wanted split, the image nearest to that split's interval
    moves there, training being served first, then validation, then test, and the smallest class before larger ones; an
    image of several classes only moves where no other class of it loses its last one. ``settled`` counts the images per
    class that have their split already; those never move.
    """
    if shares.train_per_class is None:
        assigned = {etag: natural_split(etag, shares) for etag in images}
    else:
        assigned = _so_many_of_each_class(images, shares, shares.train_per_class, settled)
    _Filling(images, assigned, settled, shares).fill()
    return assigned


def _so_many_of_each_class(
    images: Mapping[str, Sequence[str]], shares: SplitShares, wanted: int, settled: Mapping[str, Counter[Split]]
) -> dict[str, Split]:
    held_out = shares.validation + shares.test
    rest = Shares(shares.validation / held_out, shares.test / held_out, shares.seed)
    room = {label: wanted - settled.get(label, Counter())["train"] for labels in images.values() for label in labels}
    assigned: dict[str, Split] = {}
    for etag in sorted(images, key=lambda etag: (fraction(shares.seed, "train", etag), etag)):
        (label,) = images[etag]
        assigned[etag] = "train" if room[label] > 0 else natural_split(etag, rest)
        room[label] -= assigned[etag] == "train"
    return assigned


class _Filling:
    """Moves images to where a class would have none."""

    def __init__(
        self,
        images: Mapping[str, Sequence[str]],
        assigned: dict[str, Split],
        settled: Mapping[str, Counter[Split]],
        shares: SplitShares,
    ) -> None:
        self._images = images
        self._assigned = assigned
        self._seed = shares.seed
        self._counted = shares.train_per_class is not None
        self._intervals = _intervals(shares)
        self._wanted = [split for split in SPLITS if self._intervals[split][1] > self._intervals[split][0]]
        self._by_class: dict[str, list[str]] = {}
        self._counts = {label: Counter(counts) for label, counts in settled.items()}
        for etag in sorted(images):
            for label in images[etag]:
                self._by_class.setdefault(label, []).append(etag)
                self._counts.setdefault(label, Counter())[assigned[etag]] += 1

    def fill(self) -> None:
        """Serve class after class, the smallest first."""
        for label in sorted(self._by_class, key=lambda label: (self._counts[label].total(), label)):
            for split in self._wanted:
                if self._counts[label][split] == 0:
                    self._serve(label, split)

    def _serve(self, label: str, split: Split) -> None:
        own = [etag for etag in self._by_class[label] if self._spares(label, etag, split)]
        harmless = [etag for etag in own if all(self._spares(other, etag, split) for other in self._images[etag])]
        # A class that no training image shows cannot be learned: for training another class may lose a held-out image.
        candidates = harmless or (own if split == "train" else [])
        if candidates:
            moved = min(candidates, key=lambda etag: (self._is_counted(etag), self._distance(etag, split), etag))
            for other in self._images[moved]:
                self._counts[other][self._assigned[moved]] -= 1
                self._counts[other][split] += 1
            self._assigned[moved] = split

    def _spares(self, label: str, etag: str, split: Split) -> bool:
        """Tell whether a class can let an image go: it has others there, or needs it more in ``split``."""
        now, counts = self._assigned[etag], self._counts[label]
        return counts[now] > 1 or (counts[split] == 0 and now in self._wanted[self._wanted.index(split) + 1 :])

    def _is_counted(self, etag: str) -> bool:
        """Tell whether the image is one of so many that are to train."""
        return self._counted and self._assigned[etag] == "train"

    def _distance(self, etag: str, split: Split) -> float:
        point, (low, high) = fraction(self._seed, "split", etag), self._intervals[split]
        return max(low - point, point - high, 0.0)


def _intervals(shares: SplitShares) -> Intervals:
    held_out = shares.test + shares.validation
    return {"test": (0.0, shares.test), "validation": (shares.test, held_out), "train": (held_out, 1.0)}
