"""Which split an image belongs to: the one its source gives, else by its content, a seed and the shares of its class.

Chance follows from an image's content and is the same on every machine. Images with several classes go to one split
with all of theirs: they are stratified, the others drawn class after class.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from include.datasets.layout import SPLITS, Split
from include.datasets.source_image import SourceImage

LINE: tuple[Split, ...] = ("test", "validation", "train")
"""The order in which the splits' intervals lie on [0, 1)."""
NO_LABEL = "\x00"
"""Images that show none of the labels are split like a class of this name, which no label has."""
ROUNDING = 1e-9
"""Shares are decimal fractions, which binary ones miss by less than this."""
ROUNDS = 10
"""Balancing ends by itself after three or four rounds over the images."""
SettledCounts = Mapping[str, Counter[Split]]


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


class FullShares(SplitShares, Protocol):
    """Shares that say training's too."""

    @property
    def train(self) -> float:
        """Share of the training split, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares that were worked out from others."""

    validation: float
    test: float
    seed: int
    train_per_class: int | None = None


@dataclass(frozen=True, slots=True)
class KnownImages:
    """What a parent says; without a parent nothing is known."""

    splits_of_keys: dict[tuple[str, str], Split] = field(default_factory=dict)
    """By bucket and key, of the images to pack: the split that their content, or another image of the key, had."""
    counts: dict[str, Counter[Split]] = field(default_factory=dict)
    """Images per class and split that have their split already."""


def decide_splits(
    chosen: Mapping[str, SourceImage], known: KnownImages, shares: FullShares, *, given: frozenset[Split]
) -> dict[str, Split]:
    """Give each chosen image (by ETag) its split.

    An image that replaces another under its key takes that one's. A split that the source names is kept; if the
    source names splits but lacks one (`given`), its share is drawn from the images it gives for training. All others
    are drawn by the shares: of all images of their class, or beside given splits, which have shares of their own, of
    those that are drawn.
    """
    absent = frozenset(SPLITS) - given if given else frozenset()
    splits: dict[str, Split] = {}
    counts = {label: Counter(settled) for label, settled in known.counts.items()}
    undecided: dict[str, tuple[str, ...]] = {}
    from_train: dict[str, tuple[str, ...]] = {}
    for etag, image in chosen.items():
        labels = image.labels or (NO_LABEL,)
        inherited = known.splits_of_keys.get((image.bucket, image.key))
        if inherited:
            splits[etag] = inherited  # the count of its class has the image it replaces
        elif image.split is None:
            undecided[etag] = labels
        elif image.split == "train" and absent:
            from_train[etag] = labels
        else:
            splits[etag] = image.split
            for label in labels:
                counts.setdefault(label, Counter())[image.split] += 1
    drawn = assign_splits(from_train, _shares_of_absent(shares, absent), settled=counts)
    for etag, split in drawn.items():
        for label in from_train[etag]:
            counts.setdefault(label, Counter())[split] += 1
    return splits | drawn | assign_splits(undecided, shares, settled=counts, alone=bool(given))


def _shares_of_absent(shares: FullShares, absent: frozenset[Split]) -> Shares:
    validation = shares.validation if "validation" in absent else 0.0
    test = shares.test if "test" in absent else 0.0
    whole = shares.train + validation + test
    return Shares(validation / whole, test / whole, shares.seed)


def assign_splits(
    images: Mapping[str, Sequence[str]],
    shares: SplitShares,
    *,
    settled: Mapping[str, Counter[Split]],
    alone: bool = False,
) -> dict[str, Split]:
    """Give each new image (ETag -> its classes) its split, so that every class has its shares.

    `settled` counts the images per class that have their split already; those never move. The new ones bring a class
    as near to its shares of all its images as they can; with `alone` the shares are those of the new images only.
    Either way a class without any image in a wanted split gets one there as soon as it can: training first, then
    validation, then test.

    Where each image has one class, the images whose content falls into a split's interval are there, but for the
    fewest that have to leave an over-full split: those nearest to the interval they move to. Where images have
    several, they are stratified iteratively (`_stratify`).
    """
    if any(len(labels) != 1 for labels in images.values()):
        return _stratify(images, positive_shares(shares), seed=shares.seed, settled=settled, alone=alone)
    by_class: dict[str, list[str]] = {}
    for etag, (label,) in images.items():
        by_class.setdefault(label, []).append(etag)
    assigned: dict[str, Split] = {}
    for label, etags in by_class.items():
        there = settled.get(label, Counter())
        if shares.train_per_class is None:
            assigned |= _share_out(etags, shares, there, alone=alone)
        else:
            assigned |= _so_many_train(etags, shares, there, shares.train_per_class, alone=alone)
    return assigned


def _share_out(etags: list[str], shares: SplitShares, there: Counter[Split], *, alone: bool) -> dict[str, Split]:
    wanted = positive_shares(shares)
    quotas = nearest_quotas(len(etags), wanted, there, alone=alone)
    counts = _rounded(quotas, len(etags))
    _leave_none_empty(counts, there, quotas)
    return _draw(etags, wanted, counts, shares.seed)


def _so_many_train(
    etags: list[str], shares: SplitShares, there: Counter[Split], wanted: int, *, alone: bool
) -> dict[str, Split]:
    held_out = positive_shares(shares)
    held_out.pop("train", None)
    train = min(max(wanted - there["train"], 0), len(etags))
    rest = len(etags) - train
    quotas = nearest_quotas(rest, held_out, there, alone=alone)
    counts = _rounded(quotas, rest)
    counts["train"] = train
    _leave_none_empty(counts, there, {"train": train, **quotas}, kept="train")
    in_turn = sorted(etags, key=lambda etag: (fraction(shares.seed, "train", etag), etag))
    train = counts.pop("train")
    training: dict[str, Split] = dict.fromkeys(in_turn[:train], "train")
    return training | _draw(in_turn[train:], held_out, counts, shares.seed)


def positive_shares(shares: SplitShares) -> dict[Split, float]:
    """The shares of the splits that are to have images."""
    every: dict[Split, float] = {
        "train": 1 - shares.validation - shares.test,
        "validation": shares.validation,
        "test": shares.test,
    }
    return {split: share for split, share in every.items() if share > ROUNDING}


def nearest_quotas(
    new: float, shares: Mapping[Split, float], there: Mapping[Split, int], *, alone: bool = False
) -> dict[Split, float]:
    """Divide new images among splits so that the sums with those already there come as near to the shares as can be.

    Near is the least sum of squares. Quotas are not rounded; their sum is `new`.
    """
    before = {split: 0 if alone else there.get(split, 0) for split in shares}
    whole = sum(shares.values())
    total = new + sum(before.values())
    wanted = {split: total * share / whole - before[split] for split, share in shares.items()}
    while any(quota < -ROUNDING for quota in wanted.values()):
        wanted = {split: quota for split, quota in wanted.items() if quota >= -ROUNDING}
        excess = (sum(wanted.values()) - new) / len(wanted)
        wanted = {split: quota - excess for split, quota in wanted.items()}
    return {split: wanted.get(split, 0.0) for split in shares}


def _rounded(quotas: Mapping[Split, float], total: int) -> Counter[Split]:
    """Round by largest remainder; of equal remainders training's comes first, then validation's."""
    counts: Counter[Split] = Counter({split: int(quota + ROUNDING) for split, quota in quotas.items()})
    by_remainder = sorted(quotas, key=lambda split: (-round(quotas[split] - counts[split], 9), SPLITS.index(split)))
    for split in by_remainder[: total - counts.total()]:
        counts[split] += 1
    return counts


def _leave_none_empty(
    counts: Counter[Split], there: Counter[Split], quotas: Mapping[Split, float], kept: Split | None = None
) -> None:
    """Give each empty split an image of the one furthest above its quota that can spare one; `kept` gives last."""
    wanted = tuple(quotas)
    for place, split in enumerate(wanted):
        if counts[split] + there[split] == 0:
            later = wanted[place + 1 :]
            givers = [
                other for other in wanted if counts[other] and (counts[other] + there[other] > 1 or other in later)
            ]
            if givers:
                giver = max(
                    givers,
                    key=lambda other: (other != kept, round(counts[other] - quotas[other], 9), counts[other]),
                )
                counts[giver] -= 1
                counts[split] += 1


def _draw(
    etags: Iterable[str], shares: Mapping[Split, float], counts: Mapping[Split, int], seed: int
) -> dict[str, Split]:
    """Put images where their content falls; then the fewest move that make `counts` true, the nearest ones."""
    line, ends = _intervals(shares)
    drawn: dict[Split, deque[str]] = {split: deque() for split in line}
    for point, etag in sorted((fraction(seed, "split", etag), etag) for etag in etags):
        drawn[line[bisect_right(ends, point)]].append(etag)
    surplus = {split: len(drawn[split]) - counts[split] for split in line}
    moved: dict[str, Split] = {}
    for place, split in enumerate(line):
        leave = drawn[split]
        nearest = [(target, leave.popleft) for target in line[:place]]
        nearest += [(target, leave.pop) for target in reversed(line[place + 1 :])]
        for target, take in nearest:
            for _ in range(min(surplus[split], -surplus[target])):
                moved[take()] = target
                surplus[split] -= 1
                surplus[target] += 1
    return {etag: split for split, stay in drawn.items() for etag in stay} | moved


def _intervals(shares: Mapping[Split, float]) -> tuple[list[Split], list[float]]:
    """The splits as their intervals follow on [0, 1), and where each but the last ends."""
    line = [split for split in LINE if split in shares]
    whole = sum(shares.values())
    return line, list(accumulate(shares[split] / whole for split in line[:-1]))


def fraction(seed: int, purpose: str, etag: str) -> float:
    """Spread ETags evenly over [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{etag}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def _stratify(
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
    where that brings their classes together nearer to their shares of all images (`alone`: of the new ones), and
    last to where a class would have none. It needs a byte for each image and class, the same answer in every order.
    """
    etags = sorted(images, key=lambda etag: (fraction(seed, "split", etag), etag))
    classes = sorted({label for labels in images.values() for label in labels})
    shown = _indicator(images, etags, classes)
    splits = tuple(shares)
    wanted = _wanted_counts(shown, classes, shares, {} if alone else settled)
    places = _draw_stratified(shown, wanted, seed)
    balanced = _balance(shown, places, wanted)
    assigned = {etag: splits[place] for etag, place in zip(etags, balanced.tolist(), strict=True)}
    _Coverage(images, assigned, settled, splits).complete()
    return assigned


def _indicator(images: Mapping[str, Sequence[str]], etags: Sequence[str], classes: Sequence[str]) -> NDArray[np.bool_]:
    """(images, classes + 1): who shows what; the last column counts the image itself."""
    column = {label: place for place, label in enumerate(classes)}
    shown = np.zeros((len(etags), len(classes) + 1), dtype=bool)
    shown[:, -1] = True
    for row, etag in enumerate(etags):
        shown[row, [column[label] for label in images[etag]]] = True
    return shown


def _wanted_counts(
    shown: NDArray[np.bool_], classes: Sequence[str], shares: Mapping[Split, float], settled: SettledCounts
) -> NDArray[np.float64]:
    """(splits, classes + 1): how many of the new images each split wants of each class, and of all images."""
    new = shown.sum(axis=0)
    wanted = np.empty((len(shares), len(new)))
    for place, label in enumerate(classes):
        quotas = nearest_quotas(int(new[place]), shares, settled.get(label, Counter()))
        wanted[:, place] = list(quotas.values())
    of_classes = wanted[:, :-1].sum(axis=1)
    wanted[:, -1] = new[-1] * of_classes / of_classes.sum()
    return wanted


def _draw_stratified(shown: NDArray[np.bool_], wanted: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    # scikit-learn takes a second to import, which only datasets of several labels should pay.
    from iterstrat.ml_stratifiers import IterativeStratification  # noqa: PLC0415

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
        """Whether a class can let an image go: it has others there, or needs it more in `split`."""
        now, counts = self._assigned[etag], self._counts[label]
        return counts[now] > 1 or (counts[split] == 0 and now in self._wanted[self._wanted.index(split) + 1 :])
