from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.dataset_page import reasons_by_status, size_in_words, source_addresses
from include.datasets.layout import SPLITS
from include.datasets.manifest import ManifestRow, to_table
from include.datasets.packed_images import (
    IMAGES,
    LARGEST_RECORD,
    PER_CLASS,
    SHEET_BYTES,
    LabelPairs,
    PackedImages,
    choose_images,
    most_frequent,
)
from include.datasets.source_image import Status
from include.datasets.version import DatasetVersion

LABELS = ["cat", "dog", "cow", "hen"]


def packed(
    labels: list[tuple[str, ...]], *, lengths: list[int] | None = None, names: list[str] | None = None
) -> PackedImages:
    """Packed images in turn in train, validation and test, one record after the other."""
    lengths = lengths or [100] * len(labels)
    ends = dict.fromkeys(SPLITS, 0)
    rows = []
    for number, (of_image, length) in enumerate(zip(labels, lengths, strict=True)):
        split = SPLITS[number % 3]
        place = {"width": 10, "height": 20, "record_id": number, "shard": "v2/00000", "offset": ends[split]}
        rows.append(ManifestRow("b", f"{number}", "e", 9, split, of_image, Status.PACKED, **place))  # type: ignore[arg-type]
        ends[split] += length
    return PackedImages.of(to_table(rows), names or LABELS, ends)


@given(st.lists(st.integers(20, 5000), min_size=1, max_size=40))
def test_a_record_reaches_to_the_next_one_of_its_file(lengths: list[int]) -> None:
    assert packed([("cat",)] * len(lengths), lengths=lengths).record_bytes.tolist() == lengths


@given(st.lists(st.sets(st.sampled_from(LABELS)), max_size=30))
def test_pairs_are_counted_as_one_would_by_hand(images: list[set[str]]) -> None:
    pairs = LabelPairs.of(packed([tuple(sorted(image)) for image in images]), LABELS)
    expected = Counter(frozenset(pair) for image in images for pair in combinations(sorted(image), 2))
    assert (pairs.counts == pairs.counts.T).all()
    for a, first in enumerate(pairs.labels):
        assert pairs.counts[a, a] == sum(first in image for image in images)
        for b, second in enumerate(pairs.labels[:a]):
            assert pairs.counts[a, b] == expected[frozenset((first, second))]


@given(st.lists(st.sets(st.sampled_from(LABELS)), max_size=30))
def test_images_are_counted_by_their_number_of_labels(images: list[set[str]]) -> None:
    by_number = packed([tuple(sorted(image)) for image in images]).labels_per_image()
    assert Counter(map(len, images)) == {number: count for number, count in enumerate(by_number.tolist()) if count}


def test_the_most_frequent_labels_stay_in_class_order() -> None:
    assert most_frequent(np.array([3, 9, 3, 7]), 3).tolist() == [0, 1, 3]
    pairs = LabelPairs.of(packed([("cat", "hen"), ("hen",), ("cow", "hen"), ("cow", "hen")]), LABELS).most_frequent(2)
    assert pairs.labels == ("cow", "hen")
    assert pairs.ranked(5) == [("cow", "hen", 2, 1.0)]


def test_reasons_are_ranked_and_the_rest_is_counted() -> None:
    told = ["a", "b", "b", "c", "d", "d", "d"]
    rows = [ManifestRow("b", str(n), "e", 9, None, (), "corrupt", reason) for n, reason in enumerate(told)]
    doubles = [ManifestRow("b", "x", "e", 9, None, (), "duplicate", "the same bytes as y")]
    assert reasons_by_status(to_table([*rows, *doubles])) == {"corrupt": ([("d", 3), ("b", 2), ("a", 1)], 1)}


def test_new_images_are_those_the_version_packed_itself() -> None:
    images = packed([("cat",), ("cat", "dog"), ("hen",)])
    assert images.new_per_class("v1", 4)[0] == 0
    total, per_class = images.new_per_class("v2", 4)
    assert (total, per_class.tolist()) == (3, [2, 1, 0, 1])


@pytest.mark.parametrize(("classes", "shown"), [(2, 2 * PER_CLASS), (20, 60), (334, IMAGES)])
def test_a_sheet_shows_classes_evenly(classes: int, shown: int) -> None:
    names = [f"{number:03d}" for number in range(classes)]
    images = packed([(name,) for name in names for _ in range(12)], names=names)
    chosen = choose_images(images, classes)
    assert len(chosen) == len(set(chosen)) == shown
    assert len({row // 12 for row in chosen}) == min(classes, IMAGES)
    assert choose_images(images, classes) == chosen


def test_large_records_are_left_out_and_fewer_shown() -> None:
    images = packed([("cat",)] * 3, lengths=[LARGEST_RECORD + 4, 500, 500])
    assert choose_images(images, 4) == [1, 2]
    images = packed([(label,) for label in LABELS for _ in range(8)], lengths=[LARGEST_RECORD] * 32)
    chosen = choose_images(images, 4)
    assert 0 < len(chosen) * LARGEST_RECORD <= SHEET_BYTES


def test_sizes_are_told_in_a_unit_that_suits() -> None:
    assert [size_in_words(size) for size in (0, 812, 24_300, 512_000, 1.24e9, 2.5e12)] == [
        *("0 B", "812 B", "24.3 KB", "512 KB"),
        *("1.2 GB", "2,500.0 GB"),
    ]


def test_signatures_and_passwords_of_an_address_are_not_shown() -> None:
    source = {"addresses": ["https://me:secret@host.org/a.zip?X-Amz-Signature=abc", "s3://b/a [1]?.zip"]}
    version = DatasetVersion.model_construct(source=type("Source", (), source)())  # type: ignore[arg-type]
    assert source_addresses(version) == "https://host.org/a.zip, s3://b/a [1]?.zip"
