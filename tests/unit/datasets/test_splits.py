from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from include.datasets.layout import Split
from include.datasets.splits import assign_splits, natural_split
from include.datasets.version import SplitOptions

SHARES = SplitOptions(train=0.8, validation=0.1, test=0.1, seed=0)
NO_TEST = SplitOptions(train=0.8, validation=0.2, test=0.0, seed=0)
ETAGS = st.sets(st.text("0123456789abcdef", min_size=4, max_size=8), max_size=60)


def of_one_class(
    etags: set[str], shares: SplitOptions = SHARES, settled: Counter[Split] | None = None
) -> dict[str, Split]:
    return assign_splits(dict.fromkeys(etags, "cat"), shares, settled={"cat": settled or Counter()})


@given(ETAGS, ETAGS)
def test_images_keep_their_split_when_others_arrive(first: set[str], later: set[str]) -> None:
    before = of_one_class(first)
    if {"train", "validation", "test"} <= {natural_split(etag, SHARES) for etag in first}:
        after = of_one_class(first | later)
        assert {etag: after[etag] for etag in first} == before


@given(ETAGS, ETAGS)
def test_an_image_without_need_is_where_its_content_puts_it(first: set[str], later: set[str]) -> None:
    enough: Counter[Split] = Counter(train=1, validation=1, test=1)
    assigned = of_one_class(first | later, settled=enough)
    assert assigned == {etag: natural_split(etag, SHARES) for etag in first | later}


@given(ETAGS)
def test_a_class_has_an_image_in_every_split_as_soon_as_it_can(etags: set[str]) -> None:
    counts = Counter(of_one_class(etags).values())
    filled = [split for split in ("train", "validation", "test") if counts[split]]
    assert filled == ["train", "validation", "test"][: len(etags)]
    assert set(of_one_class(etags, NO_TEST).values()) <= {"train", "validation"}


@given(ETAGS)
def test_the_order_of_a_listing_does_not_matter(etags: set[str]) -> None:
    forwards = assign_splits(dict.fromkeys(sorted(etags), "cat"), SHARES, settled={})
    backwards = assign_splits(dict.fromkeys(sorted(etags, reverse=True), "cat"), SHARES, settled={})
    assert forwards == backwards


def test_the_shares_are_kept_in_every_class() -> None:
    images = {f"{label}-{number}": label for label in "abc" for number in range(2000)}
    counts = Counter((images[etag], split) for etag, split in assign_splits(images, SHARES, settled={}).items())
    for label in "abc":
        assert abs(counts[label, "train"] / 2000 - 0.8) < 0.03
        assert abs(counts[label, "test"] / 2000 - 0.1) < 0.03


def test_another_seed_is_another_split() -> None:
    etags = {str(number) for number in range(100)}
    assert of_one_class(etags) != of_one_class(etags, SHARES.model_copy(update={"seed": 1}))
