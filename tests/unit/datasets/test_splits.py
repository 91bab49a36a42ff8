from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.layout import SPLITS, Split
from include.datasets.splits import assign_splits, fraction, nearest_quotas, positive_shares
from include.datasets.version import SplitOptions

SHARES = SplitOptions(train=0.8, validation=0.1, test=0.1, seed=0)
NO_TEST = SplitOptions(train=0.8, validation=0.2, test=0.0, seed=0)
SHARE_MIXES = st.sampled_from(
    [
        SHARES,
        NO_TEST,
        SplitOptions(train=0.6, validation=0.3, test=0.1, seed=3),
        SplitOptions(train=0.34, validation=0.33, test=0.33, seed=1),
        SplitOptions(train=0.05, validation=0.05, test=0.9, seed=2),
    ]
)
ETAG = st.text("0123456789abcdef", min_size=4, max_size=8)
ETAGS = st.sets(ETAG, max_size=60)
SETTLED = st.builds(
    lambda train, validation, test: Counter(train=train, validation=validation, test=test),
    st.integers(0, 60),
    st.integers(0, 20),
    st.integers(0, 20),
)


def of_one_class(
    etags: Iterable[str], shares: SplitOptions = SHARES, settled: Mapping[Split, int] | None = None
) -> dict[str, Split]:
    return assign_splits(dict.fromkeys(etags, ("cat",)), shares, settled={"cat": Counter(settled or {})})


def natural_split(etag: str, shares: SplitOptions) -> Split:
    """The split into whose interval an image falls, whatever other images there are: test first, training last."""
    point, wanted = fraction(shares.seed, "split", etag), positive_shares(shares)
    for split in ("test", "validation"):
        if point < (share := wanted.get(split, 0.0)):
            return split
        point -= share
    return "train"


def miss(counts: Mapping[Split, int], shares: SplitOptions) -> float:
    """The sum of squares by which counts miss the shares of them all."""
    wanted = positive_shares(shares)
    total = sum(counts[split] for split in wanted)
    return sum((counts[split] - share * total) ** 2 for split, share in wanted.items())


@given(ETAGS, SHARE_MIXES)
def test_every_split_holds_its_share_of_a_class_to_within_an_image(etags: set[str], shares: SplitOptions) -> None:
    counts = Counter(of_one_class(etags, shares).values())
    wanted = positive_shares(shares)
    assert set(counts) <= set(wanted)
    # Below that a split would be empty, and takes an image that the shares give to another.
    if all(share * len(etags) >= 1 for share in wanted.values()):
        for split, share in wanted.items():
            assert abs(counts[split] - share * len(etags)) < 1


@given(ETAGS, SHARE_MIXES)
def test_a_class_has_an_image_in_every_split_as_soon_as_it_can(etags: set[str], shares: SplitOptions) -> None:
    counts = Counter(of_one_class(etags, shares).values())
    wanted = list(positive_shares(shares))
    assert [split for split in SPLITS if counts[split]] == wanted[: len(etags)]


@given(ETAGS, SHARE_MIXES)
def test_no_more_images_leave_their_place_than_a_split_has_too_many(etags: set[str], shares: SplitOptions) -> None:
    assigned = of_one_class(etags, shares)
    natural = {etag: natural_split(etag, shares) for etag in etags}
    before, after = Counter(natural.values()), Counter(assigned.values())
    moved = [etag for etag in etags if assigned[etag] != natural[etag]]
    assert len(moved) == (before - after).total()


@given(ETAGS, SETTLED, SHARE_MIXES)
def test_new_images_bring_a_class_as_near_to_its_shares_as_they_can(
    etags: set[str], settled: Counter[Split], shares: SplitOptions
) -> None:
    new = Counter(of_one_class(etags, shares, settled).values())
    total = settled + new
    wanted = list(positive_shares(shares))
    swaps = [(giver, taker) for giver in wanted for taker in wanted if giver != taker and new[giver]]
    for giver, taker in swaps:
        other = Counter(total)
        other.update({giver: -1, taker: 1})
        if all(other[split] for split in wanted):
            assert miss(other, shares) >= miss(total, shares) - 1e-6


@given(ETAGS, SHARE_MIXES)
def test_the_order_of_a_listing_does_not_matter(etags: set[str], shares: SplitOptions) -> None:
    assert of_one_class(sorted(etags), shares) == of_one_class(sorted(etags, reverse=True), shares)


@given(st.sets(ETAG, min_size=20, max_size=60), st.sets(ETAG, max_size=4), SHARE_MIXES)
def test_a_few_images_more_or_less_move_only_a_few_others(
    etags: set[str], others: set[str], shares: SplitOptions
) -> None:
    before, after = of_one_class(etags - others, shares), of_one_class(etags | others, shares)
    moved = [etag for etag in before if after[etag] != before[etag]]
    assert len(moved) <= 2 * len(others) + (2 if others else 0)


@pytest.mark.parametrize("removed", [1, 5])
def test_images_that_move_for_a_removed_one_lie_at_a_boundary(removed: int) -> None:
    etags = [f"{label}-{number}" for label in range(20) for number in range(500)]
    images = {etag: (etag.partition("-")[0],) for etag in etags}
    fewer = {etag: images[etag] for etag in etags if int(etag.partition("-")[2]) >= removed}
    before, after = assign_splits(images, SHARES, settled={}), assign_splits(fewer, SHARES, settled={})
    moved = Counter(images[etag] for etag in fewer if after[etag] != before[etag])
    assert max(moved.values(), default=0) <= removed + 1


def test_the_shares_hold_in_every_class_and_not_only_over_all() -> None:
    images = {f"{label}-{number}": (label,) for label in "abc" for number in range(2000)}
    counts = Counter((images[etag][0], split) for etag, split in assign_splits(images, SHARES, settled={}).items())
    for label in "abc":
        assert [counts[label, split] for split in SPLITS] == [1600, 200, 200]


def test_a_class_that_has_too_many_in_a_split_gets_its_new_images_elsewhere() -> None:
    grown = of_one_class(map(str, range(20)), settled={"train": 60, "validation": 20, "test": 0})
    assert Counter(grown.values()) == {"train": 15, "test": 5}


def test_beside_given_splits_the_drawn_images_have_shares_of_their_own() -> None:
    images = {str(number): ("cat",) for number in range(100)}
    drawn = assign_splits(images, SHARES, settled={"cat": Counter(train=900)}, alone=True)
    assert Counter(drawn.values()) == {"train": 80, "validation": 10, "test": 10}


def test_another_seed_is_another_split() -> None:
    etags = {str(number) for number in range(100)}
    assert of_one_class(etags) != of_one_class(etags, SHARES.model_copy(update={"seed": 1}))


@given(st.integers(0, 1000), SETTLED, SHARE_MIXES)
def test_quotas_are_never_negative_and_add_up(new: int, settled: Counter[Split], shares: SplitOptions) -> None:
    quotas = nearest_quotas(new, positive_shares(shares), settled)
    assert math.isclose(sum(quotas.values()), new, abs_tol=1e-6)
    assert min(quotas.values()) >= -1e-9


SIXTY = SHARES.model_copy(update={"train_per_class": 60})


def test_so_many_of_each_class_train_and_the_others_share_the_rest() -> None:
    images = {f"{label}-{number}": (label,) for label, count in {"a": 100, "b": 160}.items() for number in range(count)}
    counts = Counter((images[etag][0], split) for etag, split in assign_splits(images, SIXTY, settled={}).items())
    assert [counts["a", split] for split in SPLITS] == [60, 20, 20]
    assert [counts["b", split] for split in SPLITS] == [60, 50, 50]


def test_so_many_of_each_class_are_not_exceeded_as_the_class_grows() -> None:
    later = {str(number): ("a",) for number in range(30)}
    grown = assign_splits(later, SIXTY, settled={"a": Counter(train=55, validation=20, test=20)})
    assert Counter(grown.values())["train"] == 5
    full = assign_splits(later, SIXTY, settled={"a": Counter(train=60, validation=20, test=20)})
    assert Counter(full.values()) == {"validation": 15, "test": 15}


def test_a_class_of_fewer_images_than_asked_for_still_has_some_held_out() -> None:
    images = {str(number): ("a",) for number in range(20)}
    assert Counter(assign_splits(images, SIXTY, settled={}).values()) == {"train": 18, "validation": 1, "test": 1}


@given(ETAGS, st.sampled_from([(0.1, 0.1), (0.05, 0.25)]))
def test_a_class_with_two_images_more_than_asked_for_trains_on_exactly_so_many(
    etags: set[str], held_out: tuple[float, float]
) -> None:
    few = SHARES.model_copy(
        update={"train_per_class": max(len(etags) - 2, 1), "validation": held_out[0], "test": held_out[1]}
    )
    counts = Counter(of_one_class(etags, few).values())
    if len(etags) > 3:
        assert counts == {"train": len(etags) - 2, "validation": 1, "test": 1}


Images = Mapping[str, tuple[str, ...]]

LABEL_SETS = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=8),
    st.sets(st.sampled_from("abcdef"), min_size=1).map(lambda labels: tuple(sorted(labels))),
    max_size=40,
)
SETTLED_IMAGES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(Counter[Split], st.dictionaries(st.sampled_from(SPLITS), st.integers(0, 20))),
)


def counts_of(images: Images, assigned: Mapping[str, Split]) -> dict[str, Counter[Split]]:
    counts: dict[str, Counter[Split]] = {}
    for etag, labels in images.items():
        for label in labels:
            counts.setdefault(label, Counter())[assigned[etag]] += 1
    return counts


def photographs(count: int, classes: int, seed: int = 0) -> dict[str, tuple[str, ...]]:
    """Images with about three classes each; the last classes are rare."""
    random = np.random.default_rng(seed)
    chance = np.minimum(0.5, 2 / np.arange(1, classes + 1))
    shown = random.random((count, classes)) < chance
    shown[:, 0] |= ~shown.any(axis=1)
    return {
        f"{number:06d}": tuple(f"c{place:03d}" for place in np.flatnonzero(row)) for number, row in enumerate(shown)
    }


def test_the_shares_hold_in_every_class_to_within_a_few_images() -> None:
    images = photographs(800, 25)
    counts = counts_of(images, assign_splits(images, SHARES, settled={}))
    assert len(counts) == 25
    for of_class in counts.values():
        assert abs(of_class["test"] - 0.1 * of_class.total()) <= 2
        assert abs(of_class["validation"] - 0.1 * of_class.total()) <= 2


def test_the_shares_hold_over_all_images_too() -> None:
    images = photographs(2000, 30)
    splits = Counter(assign_splits(images, SHARES, settled={}).values())
    assert abs(splits["train"] - 1600) <= 20
    assert abs(splits["test"] - 200) <= 20


def test_settled_images_count_towards_the_shares_of_each_class() -> None:
    images = {f"a-{number}": ("a",) for number in range(100)} | {f"ab-{number}": ("a", "b") for number in range(100)}
    settled: dict[str, Counter[Split]] = {"a": Counter(train=300)}
    counts = counts_of(images, assign_splits(images, SHARES, settled=settled))
    for split in ("validation", "test"):
        assert abs(counts["a"][split] - 50) <= 6  # its shares of the new images alone are 20
        assert abs(counts["b"][split] - 10) <= 3


@given(LABEL_SETS)
def test_every_class_has_an_image_to_train_on(images: Images) -> None:
    assigned = assign_splits(images, SHARES, settled={})
    assert set(assigned) == set(images)
    assert all(counts["train"] for counts in counts_of(images, assigned).values())
    assert set(assign_splits(images, NO_TEST, settled={}).values()) <= {"train", "validation"}


@given(LABEL_SETS, SETTLED_IMAGES)
def test_every_class_has_an_image_to_train_on_beside_settled_ones(
    images: Images, settled: dict[str, Counter[Split]]
) -> None:
    before = {label: Counter(counts) for label, counts in settled.items()}
    for alone in (False, True):
        counts = counts_of(images, assign_splits(images, SHARES, settled=settled, alone=alone))
        assert settled == before
        assert all((counts[label] + settled.get(label, Counter()))["train"] for label in counts)


@given(LABEL_SETS, st.randoms(use_true_random=False))
def test_the_order_of_a_label_table_does_not_matter(images: Images, random: Random) -> None:
    etags = list(images)
    random.shuffle(etags)
    assert assign_splits({etag: images[etag] for etag in etags}, SHARES, settled={}) == assign_splits(
        images, SHARES, settled={}
    )


@settings(max_examples=20)
@given(LABEL_SETS, SETTLED_IMAGES)
def test_the_same_images_give_the_same_splits_again(images: Images, settled: dict[str, Counter[Split]]) -> None:
    np.random.default_rng().random()
    first = assign_splits(images, SHARES, settled=settled)
    assert assign_splits(images, SHARES, settled=settled) == first


def test_another_seed_is_another_split_of_images_with_several_labels() -> None:
    images = photographs(100, 10)
    very_large = SHARES.model_copy(update={"seed": 1 << 40})
    assert assign_splits(images, SHARES, settled={}) != assign_splits(images, very_large, settled={})


def test_a_rare_class_is_held_out_without_emptying_the_others() -> None:
    images = {f"common-{number}": ("common",) for number in range(200)}
    images |= {f"both-{number}": ("common", "rare") for number in range(3)}
    assigned = assign_splits(images, SHARES, settled={})
    counts = counts_of(images, assigned)
    assert all(counts["rare"][split] == 1 for split in SPLITS)
    assert abs(counts["common"]["test"] - 20.3) <= 2
