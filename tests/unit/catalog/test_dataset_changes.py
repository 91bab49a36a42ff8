"""Two versions of a dataset beside each other."""

from __future__ import annotations

from include.catalog.dataset_changes import GONE, VersionChanges, compare_versions
from include.datasets.version import DatasetVersion
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg


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
