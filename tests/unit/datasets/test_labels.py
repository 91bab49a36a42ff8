from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.labels import class_order, read_labels_file
from include.datasets.layout import Split
from include.datasets.source_image import LeftOut, SourceImage
from include.datasets.version import DatasetSource, DatasetVersion, SplitCounts, SplitOptions, held_out_images
from include.recordio.options import ImageOptions
from include.run_conf import RunConf
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg


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


def labels_file(bucket: Bucket, body: str | bytes, name: str = "labels.txt") -> str:
    bucket.put(name, body.encode() if isinstance(body, str) else body)
    return f"s3://{bucket.name}/{name}"


@pytest.mark.parametrize(
    ("name", "body"),
    [("labels.txt", "\ufeffowl\r\n\r\n tabby cat \r\n"), ("labels.json", '["owl", "tabby cat"]')],
)
def test_a_file_chooses_and_orders_the_classes(bucket: Bucket, name: str, body: str) -> None:
    bucket.put_images({"dog": 4, "owl": 4, "tabby cat": 4})
    version = bucket.build(bucket.conf(labels_file=labels_file(bucket, body, name)))
    assert (version.labels, version.counts.total) == (["owl", "tabby cat"], 8)


def test_the_labels_of_a_version_are_a_labels_file(bucket: Bucket) -> None:
    bucket.put_images({"dog": 4, "owl": 4, "cat": 4})
    first = bucket.build(bucket.conf(labels=["owl", "cat"]))
    again = bucket.conf(labels_file=f"s3://{bucket.name}/{first.layout.labels}")
    assert bucket.build(again, "manual__2").labels == ["owl", "cat"]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.txt", '["owl", "cat"]'),
        ("a.txt", "\ufeffowl,\r\n\r\ncat,\r\n"),
        ("a.txt", '"owl", cat'),
        ("a.json", '\ufeff[" owl", "", "cat"]'),
    ],
)
def test_a_file_reads_as_the_field_of_the_run_conf_does(bucket: Bucket, name: str, body: str) -> None:
    assert read_labels_file(bucket.s3, labels_file(bucket, body, name)) == ["owl", "cat"]
    assert RunConf.from_conf({"dataset.labels": body}).dataset.labels == ["owl", "cat"]


def test_labels_choose_among_the_names_of_the_file(bucket: Bucket) -> None:
    bucket.put_images({"dog": 4, "owl": 4, "cat": 4})
    uri = labels_file(bucket, "cat\ndog\nowl\n")
    assert bucket.build(bucket.conf(labels_file=uri, labels=["owl", "cat"])).labels == ["owl", "cat"]
    with pytest.raises(DatasetError, match=r"1 classes that dataset\.labels_file .* 'owll' \(did you mean 'owl'\?\)"):
        bucket.plan(bucket.conf(labels_file=uri, labels=["owll", "cat"]), "manual__2")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("a.txt", "\n", "names no class: write one class per line"),
        ("a.txt", "cat\ndog\ncat\n", "names 'cat' more than once: a class has one index"),
        ("a.json", "[", "is not a JSON document"),
        ("a.json", '"cats"', r'is not a list of names: write \["cat", "dog"\]'),
        ("a.json", '["cat", {}]', "is not a list of names"),
        ("a.json", "[" * 100_000, "is not a JSON document: "),
        ("a.txt", '["cat", "dog"', "is not a list of names"),
        ("a.json", b'["caf\xe9"]', "is not a JSON document"),
    ],
)
def test_a_wrong_file_says_what_to_do(bucket: Bucket, name: str, body: str | bytes, message: str) -> None:
    bucket.put_images({"cat": 2, "dog": 2})
    with pytest.raises(DatasetError, match=message):
        bucket.plan(bucket.conf(labels_file=labels_file(bucket, body, name)))


def lists(bucket: Bucket, width: int) -> list[str]:
    """`train.lst` and `test.lst` over 24 images; of width 1 the image's class is its number modulo 3."""
    names = ("train", "train", "test")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number in range(24):
        bucket.put(f"images/{number} x.jpg", jpeg(seed=number))
        flags = [number % 3 == place or number % 2 == place for place in range(width)]
        labels = [number % 3] if width == 1 else flags
        fields = [str(number), *(f"{label:f}" for label in labels), f"{number} x.jpg"]
        lines[names[number // 8]].append("\t".join(fields))
    for name, each in lines.items():
        bucket.put(f"lists/{name}.lst", "\n".join(each).encode())
    return [f"s3://{bucket.name}/lists/{name}.lst" for name in lines]


def test_lists_that_are_split_by_their_names_make_a_version(bucket: Bucket) -> None:
    version = bucket.build(bucket.conf(label_tables=lists(bucket, 1), labels=["cat", "dog", "owl"]))
    assert (version.labels, version.counts.total, version.counts.test) == (["cat", "dog", "owl"], 24, 8)
    for image in held_out_images(bucket.s3, version):
        assert image.label == int(image.key.rpartition("/")[2].split()[0]) % 3


def test_one_list_makes_versions_of_all_labels_and_of_some(bucket: Bucket) -> None:
    tables = lists(bucket, 3)
    uri = labels_file(bucket, json.dumps(["sun", "sea", "snow"]), "names.json")
    shared: dict[str, Any] = {"label_tables": tables, "labels_file": uri, "multi_label": True}
    every = bucket.build(bucket.conf(**shared))
    some = bucket.build(bucket.conf(**shared, labels=["snow", "sea"]), "manual__2")
    assert (every.labels, some.labels) == (["sun", "sea", "snow"], ["snow", "sea"])
    assert some.class_counts["snow"].total == every.class_counts["snow"].total == 8
    neither = sum(number % 3 == 0 and number % 2 == 0 for number in range(24))
    assert (some.statuses, some.negative_images, some.not_asked) == ({"packed": 24}, neither, {"sun": 16})
    dropped = bucket.build(bucket.conf(**shared, labels=["snow", "sea"], negatives="drop"), "manual__3")
    assert dropped.statuses == {"packed": 24 - neither, "skipped": neither}
