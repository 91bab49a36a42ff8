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
    return assign_splits(dict.fromkeys(etags, ("cat",)), shares, settled={"cat": settled or Counter()})


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
    forwards = assign_splits(dict.fromkeys(sorted(etags), ("cat",)), SHARES, settled={})
    backwards = assign_splits(dict.fromkeys(sorted(etags, reverse=True), ("cat",)), SHARES, settled={})
    assert forwards == backwards


def test_the_shares_are_kept_in_every_class() -> None:
    images = {f"{label}-{number}": (label,) for label in "abc" for number in range(2000)}
    counts = Counter((images[etag][0], split) for etag, split in assign_splits(images, SHARES, settled={}).items())
    for label in "abc":
        assert abs(counts[label, "train"] / 2000 - 0.8) < 0.03
        assert abs(counts[label, "test"] / 2000 - 0.1) < 0.03


def test_another_seed_is_another_split() -> None:
    etags = {str(number) for number in range(100)}
    assert of_one_class(etags) != of_one_class(etags, SHARES.model_copy(update={"seed": 1}))


LABEL_SETS = st.dictionaries(
    st.text("0123456789abcdef", min_size=4, max_size=8),
    st.sets(st.sampled_from("abcdef"), min_size=1).map(lambda labels: tuple(sorted(labels))),
    max_size=40,
)


@given(LABEL_SETS)
def test_every_class_of_images_with_several_classes_has_an_image_to_train_on(
    images: dict[str, tuple[str, ...]],
) -> None:
    assigned = assign_splits(images, SHARES, settled={})
    trained = {label for etag, labels in images.items() if assigned[etag] == "train" for label in labels}
    assert trained == {label for labels in images.values() for label in labels}


@given(LABEL_SETS, LABEL_SETS)
def test_images_with_several_classes_keep_their_split_when_others_arrive(
    first: dict[str, tuple[str, ...]], later: dict[str, tuple[str, ...]]
) -> None:
    enough: Counter[Split] = Counter(train=1, validation=1, test=1)
    assigned = assign_splits(later | first, SHARES, settled=dict.fromkeys("abcdef", enough))
    assert {etag: assigned[etag] for etag in first} == {etag: natural_split(etag, SHARES) for etag in first}


def test_a_rare_class_is_held_out_without_emptying_the_others() -> None:
    images = {f"common-{number}": ("common",) for number in range(200)}
    images |= {f"both-{number}": ("common", "rare") for number in range(3)}
    assigned = assign_splits(images, SHARES, settled={})
    for label in ("common", "rare"):
        assert {assigned[etag] for etag, labels in images.items() if label in labels} == {"train", "validation", "test"}
    moved = [etag for etag in images if assigned[etag] != natural_split(etag, SHARES)]
    assert len(moved) <= 2


def test_several_classes_are_shared_out_about_alike() -> None:
    images = {
        str(number): tuple("abc"[place] for place in range(3) if number % 7 >> place & 1) for number in range(7000)
    }
    images = {etag: labels for etag, labels in images.items() if labels}
    assigned = assign_splits(images, SHARES, settled={})
    for label in "abc":
        splits = Counter(assigned[etag] for etag, labels in images.items() if label in labels)
        assert abs(splits["train"] / splits.total() - 0.8) < 0.03


SIXTY = SHARES.model_copy(update={"train_per_class": 60})


def test_so_many_of_each_class_train_and_the_others_share_the_rest() -> None:
    images = {f"{label}-{number}": (label,) for label, count in {"a": 100, "b": 160}.items() for number in range(count)}
    counts = Counter((images[etag][0], split) for etag, split in assign_splits(images, SIXTY, settled={}).items())
    assert (counts["a", "train"], counts["b", "train"]) == (60, 60)
    assert abs(counts["b", "test"] / 100 - 0.5) < 0.15
    assert counts["a", "validation"] + counts["a", "test"] == 40


def test_so_many_of_each_class_are_not_exceeded_as_the_class_grows() -> None:
    later = {str(number): ("a",) for number in range(30)}
    grown = assign_splits(later, SIXTY, settled={"a": Counter(train=55, validation=20, test=20)})
    assert Counter(grown.values())["train"] == 5
    full = assign_splits(later, SIXTY, settled={"a": Counter(train=60, validation=20, test=20)})
    assert set(full.values()) == {"validation", "test"}


def test_a_class_of_fewer_images_than_asked_for_still_has_some_held_out() -> None:
    images = {str(number): ("a",) for number in range(20)}
    assert Counter(assign_splits(images, SIXTY, settled={}).values()) == {"train": 18, "validation": 1, "test": 1}


@given(ETAGS)
def test_a_class_with_two_images_more_than_asked_for_trains_on_exactly_so_many(etags: set[str]) -> None:
    few = SHARES.model_copy(update={"train_per_class": max(len(etags) - 2, 1)})
    counts = Counter(of_one_class(etags, few).values())
    if len(etags) > 3:
        assert counts == {"train": len(etags) - 2, "validation": 1, "test": 1}
