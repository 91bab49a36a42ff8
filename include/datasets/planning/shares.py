"""The shares of images that splits are to have, and what is missing from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from include.datasets.layout import Split

ROUNDING = 1e-9
"""Shares are decimal fractions, which binary ones miss by less than this."""


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


def positive_shares(shares: SplitShares) -> dict[Split, float]:
    """Return the shares of the splits that are to have images."""
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

    Near is the least sum of squares. Quotas are not rounded; their sum is ``new``.
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
