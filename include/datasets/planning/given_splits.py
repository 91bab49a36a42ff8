"""Splits that a source tells itself, and how what it does not tell is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from include.datasets.layout import SPLITS, Split
from include.datasets.planning.known import NO_LABEL, KnownImages
from include.datasets.planning.shares import Shares, SplitShares
from include.datasets.planning.splits import assign_splits
from include.datasets.source_image import SourceImage


class FullShares(SplitShares, Protocol):
    """Shares that say training's too."""

    @property
    def train(self) -> float:
        """Share of the training split, 0 to 1."""


def decide_splits(
    chosen: Mapping[str, SourceImage], known: KnownImages, shares: FullShares, *, given: frozenset[Split]
) -> dict[str, Split]:
    """Give each chosen image (by ETag) its split.

    An image that replaces another under its key takes that one's. A split that the source tells is kept; where the
    source tells splits but lacks one (``given``), its share is drawn from the images it gives for training. All others
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
