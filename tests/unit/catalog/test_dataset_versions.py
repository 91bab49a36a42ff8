"""What pages show of the images of a dataset version, and of two versions beside each other."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from include.catalog import dataset_versions
from include.catalog.dataset_versions import GONE, VersionChanges, compare_versions, read_accounts, read_sheet
from include.datasets.errors import DatasetError
from include.datasets.version import DatasetVersion
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg


def test_images_that_are_not_packed_are_counted_with_their_reasons_bad_ones_first(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10, "owl": 4})
    bucket.put("images/cat/broken.jpg", jpeg(16, 16)[:40])
    bucket.put("images/cat/note.jpg", b"a text")
    bucket.put("images/cat/same.jpg", bucket.get("images/cat/000.jpg"))
    version = bucket.build(bucket.conf(labels=["cat", "dog"], max_bad_fraction=0.5))

    accounts = {account.status: account for account in read_accounts(bucket.client, version)}

    assert list(accounts)[-1] == "duplicate"
    assert {status: account.images for status, account in accounts.items()} == {
        status: count for status, count in version.statuses.items() if status != "packed"
    }
    bad = [account for account in accounts.values() if account.is_bad]
    assert sum(account.images for account in bad) == 2
    assert all(account.reasons and account.first[0].reason for account in bad)
    assert {image.uri.rpartition("/")[2] for account in bad for image in account.first} == {"broken.jpg", "note.jpg"}
    assert accounts["not_asked"].images == 4
    assert accounts["duplicate"].first[0].uri.endswith("/cat/same.jpg")


def test_a_sheet_shows_a_class_or_a_split_alone(bucket: Bucket) -> None:
    bucket.put_images({"cat": 20, "dog": 20})
    version = bucket.build(bucket.conf(split={"train": 0.6, "validation": 0.2, "test": 0.2}))

    everything = read_sheet(bucket.client, version)
    dogs = read_sheet(bucket.client, version, label="dog")
    tested = read_sheet(bucket.client, version, label="dog", split="test")

    assert {image.labels for image in everything} == {"cat", "dog"}
    assert {image.labels for image in dogs} == {"dog"}
    assert {image.split for image in dogs} == {"train", "validation", "test"}
    assert len(tested) == version.class_counts["dog"].test
    assert {(image.labels, image.split) for image in tested} == {("dog", "test")}
    for image in tested:
        packed = cv2.imdecode(np.frombuffer(bucket.get(image.uri.partition(f"{bucket.name}/")[2]), np.uint8), 1)
        shown = base64.b64decode(image.picture.partition(",")[2])
        small = cv2.imdecode(np.frombuffer(shown, np.uint8), 1)
        assert small.shape == packed.shape
        assert np.abs(small.astype(int) - packed.astype(int)).mean() < 12


def test_a_class_that_the_version_does_not_have_is_named(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    version = bucket.build(bucket.conf())

    with pytest.raises(DatasetError, match="no class 'owl'"):
        read_sheet(bucket.client, version, label="owl")
    with pytest.raises(DatasetError, match="no split 'exam'"):
        read_sheet(bucket.client, version, split="exam")


def test_the_manifest_of_a_huge_version_is_not_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    version = bucket.build(bucket.conf())
    monkeypatch.setattr(dataset_versions, "MOST_ROWS", 19)

    with pytest.raises(DatasetError, match="20 source images, and pages read up to 19"):
        read_accounts(bucket.client, version)


def built(bucket: Bucket, run: str, **conf: object) -> DatasetVersion:
    return bucket.build(bucket.conf(max_bad_fraction=0.5, **conf), run)


def between(bucket: Bucket, older: DatasetVersion, newer: DatasetVersion) -> VersionChanges:
    return compare_versions(bucket.client, older, newer)


def test_images_that_came_and_went_are_counted_by_class_and_named(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    older = built(bucket, "manual__1")
    bucket.put_images({"dog": 3}, first=50)
    bucket.client.delete_object(Bucket=bucket.name, Key="images/cat/000.jpg")
    bucket.put("images/cat/001.jpg", b"no image any more")
    newer = built(bucket, "manual__2")

    changes = between(bucket, older, newer)

    assert (changes.same, changes.added, changes.removed, changes.relabelled) == (18, 3, 2, 0)
    assert {(each.label, each.before, each.now, each.added, each.removed) for each in changes.classes} == {
        ("cat", 10, 8, 0, 2),
        ("dog", 10, 13, 3, 0),
    }
    assert dict(changes.why_removed) == {GONE: 1, "not_an_image": 1}
    gone = {image.uri.rpartition("/")[2]: image for image in changes.first_removed}
    assert gone["000.jpg"].note == GONE
    assert gone["001.jpg"].note.startswith("not_an_image: ")
    assert {image.now for image in changes.first_added} == {"dog"}
    assert not changes.reordered


def test_an_image_that_moved_to_another_class_is_relabelled_and_not_new(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    older = built(bucket, "manual__1")
    for key, goal in (("cat/000.jpg", "dog/from-cat.jpg"), ("cat/001.jpg", "cat/renamed.jpg")):
        bucket.put(f"images/{goal}", bucket.get(f"images/{key}"))
        bucket.client.delete_object(Bucket=bucket.name, Key=f"images/{key}")
    bucket.put("images/dog/000.jpg", jpeg(16, 20, seed=77))
    newer = built(bucket, "manual__2")

    changes = between(bucket, older, newer)

    assert (changes.added, changes.removed) == (0, 0)
    assert (changes.relabelled, changes.moved, changes.replaced) == (1, 1, 1)
    assert changes.pairs == (("cat", "dog", 1),)
    assert [(image.before, image.now) for image in changes.first_relabelled] == [("cat", "dog")]
    assert changes.first_relabelled[0].uri.endswith("/dog/from-cat.jpg")
    assert {(each.label, each.gained, each.lost) for each in changes.classes} == {("cat", 0, 1), ("dog", 1, 0)}


def test_classes_that_were_added_or_left_out_are_shown(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10, "owl": 10})
    older = built(bucket, "manual__1", labels=["dog", "cat"])
    newer = built(bucket, "manual__2", labels=["cat", "owl"])

    changes = between(bucket, older, newer)

    assert {each.label: (each.before, each.now) for each in changes.classes} == {
        "cat": (10, 10),
        "owl": (None, 10),
        "dog": (10, None),
    }
    assert dict(changes.why_removed) == {"not_asked": 10}
    assert changes.reordered


def test_versions_of_the_same_images_do_not_differ(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    older, newer = built(bucket, "manual__1"), built(bucket, "manual__2")

    changes = between(bucket, older, newer)

    assert (changes.same, changes.added, changes.removed, changes.relabelled) == (20, 0, 0, 0)
    assert (changes.replaced, changes.moved, changes.other_split) == (0, 0, 0)
    assert changes.pairs == changes.first_added == changes.first_removed == changes.first_relabelled == ()
