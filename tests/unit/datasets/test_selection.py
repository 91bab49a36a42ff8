from __future__ import annotations

from dataclasses import replace

from include.datasets.known import KnownImages, SettledImage
from include.datasets.selection import Selection, select_images
from include.datasets.source import LeftOut, SourceImage


def image(key: str, etag: str, size: int = 10) -> SourceImage:
    return SourceImage("photos", key, etag, size, (key.partition("/")[0],))


def settled(label: str, *, conflict: bool = False) -> KnownImages:
    known = KnownImages()
    known.contents["e1"] = SettledImage(f"s3://photos/{label}/old.jpg", (label,), conflict)
    return known


def outcome(selection: Selection) -> tuple[list[str], dict[str, str]]:
    return [chosen.key for chosen in selection.chosen.values()], {row.key: row.status for row in selection.excluded}


def test_the_same_content_is_kept_once_under_its_first_key() -> None:
    selection = select_images([image("cat/b", "e1"), image("cat/a", "e1"), image("cat/c", "e2")], [], KnownImages())
    assert outcome(selection) == (["cat/a", "cat/c"], {"cat/b": "duplicate"})
    assert selection.excluded[0].reason == "the same bytes as s3://photos/cat/a"


def test_content_under_two_labels_is_kept_under_neither() -> None:
    selection = select_images([image("cat/a", "e1"), image("cat/b", "e1"), image("dog/a", "e1")], [], KnownImages())
    assert outcome(selection) == ([], {"cat/a": "conflict", "cat/b": "conflict", "dog/a": "conflict"})
    assert [row.reason for row in selection.excluded] == [
        "the same bytes have another label at s3://photos/dog/a (dog)",
        "the same bytes have another label at s3://photos/dog/a (dog)",
        "the same bytes have another label at s3://photos/cat/a (cat)",
    ]


def test_content_the_parent_has_packed_is_a_duplicate() -> None:
    assert outcome(select_images([image("cat/a", "e1")], [], settled("cat"))) == ([], {"cat/a": "duplicate"})


def test_content_the_parent_has_under_another_label_is_a_conflict() -> None:
    selection = select_images([image("dog/a", "e1")], [], settled("cat"))
    assert outcome(selection) == ([], {"dog/a": "conflict"})
    assert selection.excluded[0].reason == "the same bytes have another label at s3://photos/cat/old.jpg (cat)"


def test_content_that_was_a_conflict_stays_one() -> None:
    assert outcome(select_images([image("cat/a", "e1")], [], settled("cat", conflict=True)))[1] == {"cat/a": "conflict"}


def test_empty_objects_are_no_duplicates_of_each_other() -> None:
    selection = select_images([image("cat/a", "e0", 0), image("dog/b", "e0", 0)], [], KnownImages())
    assert outcome(selection) == ([], {"cat/a": "empty", "dog/b": "empty"})


def test_what_belongs_to_no_class_is_listed_but_not_packed() -> None:
    loose = LeftOut(SourceImage("photos", "labels.csv", "e9", 4, ()), "ignored", "beside the class folders")
    selection = select_images([], [loose], KnownImages())
    assert outcome(selection) == ([], {"labels.csv": "ignored"})
    assert selection.excluded[0].reason == "beside the class folders"


def test_an_image_that_was_packed_and_deleted_since_is_not_missing() -> None:
    known = KnownImages()
    known.splits_of_keys["photos", "a.jpg"] = "train"
    gone = [LeftOut(SourceImage("photos", key, "", 0, ("cat",)), "missing", "gone") for key in ("a.jpg", "b.jpg")]
    assert outcome(select_images([], gone, known)) == ([], {"b.jpg": "missing"})


def test_the_same_bytes_in_several_given_splits_stay_held_out() -> None:
    images = [replace(image(f"cat/{split}", "e1"), split=split) for split in ("train", "validation", "test")]
    assert outcome(select_images(images, [], KnownImages())) == (
        ["cat/test"],
        {"cat/train": "duplicate", "cat/validation": "duplicate"},
    )


def test_the_same_bytes_under_other_sets_of_labels_are_a_conflict_whatever_their_order() -> None:
    def labelled(key: str, *labels: str) -> SourceImage:
        return replace(image(key, "e1"), labels=labels)

    same = select_images([labelled("a", "sun", "sea"), labelled("b", "sea", "sun")], [], KnownImages())
    assert outcome(same) == (["a"], {"b": "duplicate"})
    other = select_images([labelled("a", "sun", "sea"), labelled("b", "sea")], [], KnownImages())
    assert outcome(other) == ([], {"a": "conflict", "b": "conflict"})
    assert other.excluded[1].reason == "the same bytes have another label at s3://photos/a (sun, sea)"
