from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.layout import SPLITS, Split
from include.datasets.planning.splits import assign_splits
from include.datasets.version import SplitOptions

SHARES = SplitOptions(train=0.8, validation=0.1, test=0.1, seed=0)
NO_TEST = SplitOptions(train=0.8, validation=0.2, test=0.0, seed=0)
Images = Mapping[str, tuple[str, ...]]

LABEL_SETS = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=8),
    st.sets(st.sampled_from("abcdef"), min_size=1).map(lambda labels: tuple(sorted(labels))),
    max_size=40,
)
SETTLED = st.dictionaries(
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


@given(LABEL_SETS, SETTLED)
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
@given(LABEL_SETS, SETTLED)
def test_the_same_images_give_the_same_splits_again(images: Images, settled: dict[str, Counter[Split]]) -> None:
    np.random.default_rng().random()
    first = assign_splits(images, SHARES, settled=settled)
    assert assign_splits(images, SHARES, settled=settled) == first


def test_another_seed_is_another_split() -> None:
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
