"""Which split an image belongs to: decided by its content, a seed and the shares of its class."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from include.datasets.layout import SPLITS, Split
from include.datasets.planning.shares import ROUNDING, SplitShares, nearest_quotas, positive_shares
from include.datasets.planning.spread import fraction

LINE: tuple[Split, ...] = ("test", "validation", "train")
"""The order in which the splits' intervals lie on [0, 1)."""


def assign_splits(
    images: Mapping[str, Sequence[str]],
    shares: SplitShares,
    *,
    settled: Mapping[str, Counter[Split]],
    alone: bool = False,
) -> dict[str, Split]:
    """Give each new image (ETag -> its classes) its split, so that every class has its shares.

    ``settled`` counts the images per class that have their split already; those never move. The new ones bring a class
    as near to its shares of all its images as they can; with ``alone`` the shares are those of the new images only.
    Either way a class without any image in a wanted split gets one there as soon as it can: training first, then
    validation, then test.

    Where each image has one class, the images whose content falls into a split's interval are there, but for the
    fewest that have to leave an over-full split: those nearest to the interval they move to. Where images have
    several, they are stratified iteratively (``include.datasets.planning.multi_label_splits``).
    """
    if any(len(labels) != 1 for labels in images.values()):
        # scikit-learn takes a second to import, which only datasets of several labels should pay.
        from include.datasets.planning.multi_label_splits import stratify  # noqa: PLC0415

        return stratify(images, positive_shares(shares), seed=shares.seed, settled=settled, alone=alone)
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
    """Give each empty split an image of the one furthest above its quota that can spare one; ``kept`` gives last."""
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
    """Put images where their content falls; then the fewest move that make ``counts`` true, the nearest ones."""
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
    """Return the splits as their intervals follow on [0, 1), and where each but the last ends."""
    line = [split for split in LINE if split in shares]
    whole = sum(shares.values())
    return line, list(accumulate(shares[split] / whole for split in line[:-1]))
