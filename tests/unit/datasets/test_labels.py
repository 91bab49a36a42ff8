from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.datasets.errors import DatasetError
from include.datasets.labels import class_order
from include.datasets.version import DatasetVersion, SplitCounts, SplitOptions
from include.recordio.options import ImageOptions

SOURCE = "s3://photos/pets/"


@pytest.fixture
def parent() -> DatasetVersion:
    return DatasetVersion(
        name="pets",
        version="20260301T123000Z-aaaaaaaa",
        parent=None,
        source=SOURCE,
        uri="s3://data/datasets/pets/20260301T123000Z-aaaaaaaa/",
        labels=["dog", "cat"],
        multi_label=False,
        counts=SplitCounts(train=1),
        class_counts={},
        statuses={},
        new_images=1,
        smallest_side=10,
        next_record_id=1,
        packing=ImageOptions(),
        split=SplitOptions(train=0.8, validation=0.1, test=0.1, seed=0),
        libraries={},
        created=datetime(2026, 3, 1, tzinfo=UTC),
    )


def test_folders_are_classes_in_sorted_order() -> None:
    assert class_order([], ["dog", "Cat", "ape"], source=SOURCE, parent=None) == ["Cat", "ape", "dog"]


def test_asked_labels_choose_and_order_the_classes() -> None:
    assert class_order(["dog", "ape"], ["ape", "cat", "dog"], source=SOURCE, parent=None) == ["dog", "ape"]


def test_a_label_without_a_folder_is_named_with_the_nearest_folder() -> None:
    with pytest.raises(DatasetError, match=r"'dogs' \(did you mean 'dog'\?\)"):
        class_order(["cat", "dogs"], ["cat", "dog"], source=SOURCE, parent=None)


def test_a_label_asked_for_twice_is_refused() -> None:
    with pytest.raises(DatasetError, match="'cat' more than once"):
        class_order(["cat", "cat"], ["cat"], source=SOURCE, parent=None)


def test_a_source_without_folders_says_where_images_belong() -> None:
    with pytest.raises(DatasetError, match="no class folders: put images under s3://photos/pets/CLASS/"):
        class_order([], [], source=SOURCE, parent=None)


def test_a_single_class_is_no_classification() -> None:
    with pytest.raises(DatasetError, match="single class 'cat'"):
        class_order([], ["cat"], source=SOURCE, parent=None)


def test_a_grown_version_keeps_the_order_of_its_parent(parent: DatasetVersion) -> None:
    assert class_order([], ["cat", "dog"], source=SOURCE, parent=parent) == ["dog", "cat"]
    assert class_order(["dog", "cat"], ["ape", "cat"], source=SOURCE, parent=parent) == ["dog", "cat"]


def test_a_new_class_folder_means_a_full_retrain(parent: DatasetVersion) -> None:
    with pytest.raises(DatasetError, match=r"ape\. A changed label set is a full retrain"):
        class_order([], ["ape", "cat", "dog"], source=SOURCE, parent=parent)


@pytest.mark.parametrize(("asked", "what"), [(["dog", "ape"], "ape, cat"), (["cat", "dog"], "their order")])
def test_other_labels_than_the_parents_mean_a_full_retrain(parent: DatasetVersion, asked: list[str], what: str) -> None:
    with pytest.raises(DatasetError, match=rf"\({what}\)\. A changed label set is a full retrain"):
        class_order(asked, ["ape", "cat", "dog"], source=SOURCE, parent=parent)
