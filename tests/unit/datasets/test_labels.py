from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from include.datasets.dataset_source import DatasetSource
from include.datasets.errors import DatasetError
from include.datasets.labels import class_order
from include.datasets.layout import Split
from include.datasets.sources.source import LeftOut, SourceImage
from include.datasets.version import DatasetVersion, SplitCounts, SplitOptions
from include.recordio.options import ImageOptions


@dataclass(frozen=True)
class Classes:
    """A source that has these classes, in this order."""

    classes: tuple[str, ...]
    uri: str = "s3://photos/pets/"
    class_place: str = "s3://photos/pets/CLASS/"
    given_splits: frozenset[Split] = frozenset()

    def images(self, labels: Iterable[str]) -> Iterator[SourceImage]:
        return iter(())

    def left_out(self, labels: Iterable[str]) -> Iterator[LeftOut]:
        return iter(())

    def unused_labels(self, labels: Iterable[str]) -> dict[str, int]:
        return {}

    def unmatched(self) -> str:
        return ""


def order(asked: list[str], classes: list[str], parent: DatasetVersion | None = None) -> list[str]:
    return class_order(asked, Classes(tuple(classes)), parent)


@pytest.fixture
def parent() -> DatasetVersion:
    return DatasetVersion(
        name="pets",
        version="20260301T123000Z-aaaaaaaa",
        parent=None,
        source=DatasetSource(addresses=["s3://photos/pets/"]),
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


def test_without_labels_the_classes_stand_as_in_the_source() -> None:
    assert order([], ["dog", "Cat", "ape"]) == ["dog", "Cat", "ape"]


def test_asked_labels_choose_and_order_the_classes() -> None:
    assert order(["dog", "ape"], ["ape", "cat", "dog"]) == ["dog", "ape"]


def test_a_label_the_source_does_not_have_is_named_with_the_nearest_class() -> None:
    with pytest.raises(DatasetError, match=r"'dogs' \(did you mean 'dog'\?\)"):
        order(["cat", "dogs"], ["cat", "dog"])


def test_a_label_asked_for_twice_is_refused() -> None:
    with pytest.raises(DatasetError, match="'cat' more than once"):
        order(["cat", "cat"], ["cat"])


def test_a_source_without_folders_says_where_images_belong() -> None:
    with pytest.raises(DatasetError, match="no class folders: put images under s3://photos/pets/CLASS/"):
        order([], [])


def test_a_single_class_is_no_classification() -> None:
    with pytest.raises(DatasetError, match="single class 'cat'"):
        order([], ["cat"])


def test_a_grown_version_keeps_the_order_of_its_parent(parent: DatasetVersion) -> None:
    assert order([], ["cat", "dog"], parent) == ["dog", "cat"]
    assert order(["dog", "cat"], ["ape", "cat"], parent) == ["dog", "cat"]


def test_a_new_class_folder_means_a_full_retrain(parent: DatasetVersion) -> None:
    with pytest.raises(DatasetError, match=r"ape\. A changed label set is a full retrain"):
        order([], ["ape", "cat", "dog"], parent)


@pytest.mark.parametrize(("asked", "what"), [(["dog", "ape"], "ape, cat"), (["cat", "dog"], "their order")])
def test_other_labels_than_the_parents_mean_a_full_retrain(parent: DatasetVersion, asked: list[str], what: str) -> None:
    with pytest.raises(DatasetError, match=rf"\({what}\)\. A changed label set is a full retrain"):
        order(asked, ["ape", "cat", "dog"], parent)
