"""Splits of images with several classes: every class has its shares, and an image goes to one split with all of its."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from iterstrat.ml_stratifiers import IterativeStratification
from numpy.typing import NDArray

from include.datasets.layout import Split
from include.datasets.planning.shares import nearest_quotas
from include.datasets.planning.spread import fraction

ROUNDS = 10
"""Balancing ends by itself after three or four rounds over the images."""

SettledCounts = Mapping[str, Counter[Split]]


def stratify(
    images: Mapping[str, Sequence[str]],
    shares: Mapping[Split, float],
    *,
    seed: int,
    settled: SettledCounts,
    alone: bool = False,
) -> dict[str, Split]:
    """Give each image (ETag -> its classes) its split by iterative stratification.

    The algorithm (Sechidis, Tsoumakas and Vlahavas 2011, of the package iterative-stratification) knows shares, not
    what is settled: it gets the shares that the settled images leave over all classes. Then images move one by one
    where that brings their classes together nearer to their shares of all images (``alone``: of the new ones), and
    last to where a class would have none. It needs a byte for each image and class, the same answer in every order.
    """
    etags = sorted(images, key=lambda etag: (fraction(seed, "split", etag), etag))
    classes = sorted({label for labels in images.values() for label in labels})
    shown = _indicator(images, etags, classes)
    splits = tuple(shares)
    wanted = _wanted_counts(shown, classes, shares, {} if alone else settled)
    places = _draw(shown, wanted, seed)
    balanced = _balance(shown, places, wanted)
    assigned = {etag: splits[place] for etag, place in zip(etags, balanced.tolist(), strict=True)}
    _Coverage(images, assigned, settled, splits).complete()
    return assigned


def _indicator(images: Mapping[str, Sequence[str]], etags: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Return (images, classes + 1): who shows what; the last column counts the image itself."""
    column = {label: place for place, label in enumerate(classes)}
    shown = np.zeros((len(etags), len(classes) + 1), dtype=bool)
    shown[:, -1] = True
    for row, etag in enumerate(etags):
        shown[row, [column[label] for label in images[etag]]] = True
    return shown


def _wanted_counts(
    shown: NDArray[np.bool_], classes: Sequence[str], shares: Mapping[Split, float], settled: SettledCounts
) -> NDArray[np.float64]:
    """Return (splits, classes + 1): how many of the new images each split wants of each class, and of all images."""
    new = shown.sum(axis=0)
    wanted = np.empty((len(shares), len(new)))
    for place, label in enumerate(classes):
        quotas = nearest_quotas(int(new[place]), shares, settled.get(label, Counter()))
        wanted[:, place] = list(quotas.values())
    of_classes = wanted[:, :-1].sum(axis=1)
    wanted[:, -1] = new[-1] * of_classes / of_classes.sum()
    return wanted


def _draw(shown: NDArray[np.bool_], wanted: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    # A split that wants nothing must not be offered: the algorithm gives where least is missing once nothing is.
    open_splits = np.flatnonzero(wanted[:, -1] > 0)
    shares = wanted[open_splits, -1] / wanted[open_splits, -1].sum()
    state = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    drawn: NDArray[np.intp] = IterativeStratification(shown[:, :-1], shares, np.random.RandomState(state))
    return open_splits[drawn]


def _balance(shown: NDArray[np.bool_], places: NDArray[np.intp], wanted: NDArray[np.float64]) -> NDArray[np.intp]:
    """Move images while the sum over classes of (count - wanted)^2 / images of the class falls by it."""
    places = places.copy()
    excess = np.array([shown[places == place].sum(axis=0) for place in range(len(wanted))]) - wanted
    weights = 1.0 / np.maximum(shown.sum(axis=0), 1)
    for _ in range(ROUNDS):
        moved = 0
        for row, place in enumerate(places.tolist()):
            columns = np.flatnonzero(shown[row])
            over = excess[:, columns] @ weights[columns]
            target = int(over.argmin())
            # The fall of the sum is twice this; the margin keeps rounding from moving an image to and fro.
            if over[place] - over[target] > weights[columns].sum() + 1e-9:
                excess[place, columns] -= 1
                excess[target, columns] += 1
                places[row] = target
                moved += 1
        if not moved:
            break
    return places


class _Coverage:
    """Moves images to where a class would have none."""

    def __init__(
        self,
        images: Mapping[str, Sequence[str]],
        assigned: dict[str, Split],
        settled: SettledCounts,
        wanted: Sequence[Split],
    ) -> None:
        self._images = images
        self._assigned = assigned
        self._wanted = wanted
        self._by_class: dict[str, list[str]] = {}
        self._counts = {label: Counter(counts) for label, counts in settled.items()}
        for etag in sorted(images):
            for label in images[etag]:
                self._by_class.setdefault(label, []).append(etag)
                self._counts.setdefault(label, Counter())[assigned[etag]] += 1

    def complete(self) -> None:
        """Serve class after class, the smallest first; of a class training first, then validation, then test."""
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
            moved = min(candidates, key=lambda etag: (len(self._images[etag]), etag))
            for other in self._images[moved]:
                self._counts[other][self._assigned[moved]] -= 1
                self._counts[other][split] += 1
            self._assigned[moved] = split

    def _spares(self, label: str, etag: str, split: Split) -> bool:
        """Tell whether a class can let an image go: it has others there, or needs it more in ``split``."""
        now, counts = self._assigned[etag], self._counts[label]
        return counts[now] > 1 or (counts[split] == 0 and now in self._wanted[self._wanted.index(split) + 1 :])
