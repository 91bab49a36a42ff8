from __future__ import annotations

from dataclasses import replace

from include.datasets.layout import Split
from include.datasets.manifest import ManifestRow, to_rows, to_table
from include.datasets.selection import ParentImages, Selection, select_images
from include.datasets.source_image import LeftOut, SourceImage, Status


def image(key: str, etag: str, size: int = 10) -> SourceImage:
    return SourceImage("photos", key, etag, size, (key.partition("/")[0],))


def row(key: str, etag: str, status: str = Status.PACKED, *, split: Split | None = None) -> ManifestRow:
    held = status in (Status.PACKED, Status.REMOVED)
    return replace(
        ManifestRow.of(image(key, etag), status, None if status == Status.PACKED else f"it was {status}"),
        split=split or ("train" if held else None),
        record_id=int(etag[1:]) if status == Status.PACKED else None,
    )


def parent(*rows: ManifestRow) -> ParentImages:
    return ParentImages(to_table(rows))


def packed(selection: Selection) -> list[str]:
    return [chosen.key for chosen in selection.chosen]


def statuses(selection: Selection) -> dict[str, str]:
    return {row.key: row.status for row in to_rows(selection.excluded)}


def outcome(selection: Selection) -> tuple[list[str], dict[str, str]]:
    return packed(selection), statuses(selection)


def changed(selection: Selection) -> dict[int | None, str]:
    """By record id: cut out, or the key it now has."""
    rows = to_rows(selection.changed_records)
    return {row.record_id: row.key if row.status == Status.PACKED else row.status for row in rows}


def test_the_same_content_is_kept_once_under_its_first_key() -> None:
    selection = select_images([image("cat/b", "e1"), image("cat/a", "e1"), image("cat/c", "e2")], [], parent())
    assert outcome(selection) == (["cat/a", "cat/c"], {"cat/b": "duplicate"})
    assert selection.excluded["reason"].to_pylist() == ["the same bytes as s3://photos/cat/a"]


def test_content_under_two_labels_is_kept_under_neither() -> None:
    selection = select_images([image("cat/a", "e1"), image("cat/b", "e1"), image("dog/a", "e1")], [], parent())
    assert outcome(selection) == ([], {"cat/a": "conflict", "cat/b": "conflict", "dog/a": "conflict"})
    assert selection.excluded["reason"].to_pylist() == [
        "the same bytes have another label at s3://photos/dog/a (dog)",
        "the same bytes have another label at s3://photos/dog/a (dog)",
        "the same bytes have another label at s3://photos/cat/a (cat)",
    ]


def test_nothing_is_packed_where_nothing_changed() -> None:
    before = [
        row("cat/a", "e1"),
        row("cat/b", "e1", Status.DUPLICATE),
        row("cat/c", "e2", "corrupt"),
        row("dog/a", "e3"),
    ]
    listed = [image("cat/a", "e1"), image("cat/b", "e1"), image("cat/c", "e2"), image("dog/a", "e3")]
    selection = select_images(listed, [], parent(*before))
    assert outcome(selection) == ([], {"cat/b": "duplicate", "cat/c": "corrupt"})
    assert (selection.new_images, changed(selection), selection.kept.num_rows) == (0, {}, 2)


def test_content_the_parent_has_packed_is_a_duplicate() -> None:
    selection = select_images([image("cat/a", "e1"), image("cat/old", "e1")], [], parent(row("cat/old", "e1")))
    assert (outcome(selection), changed(selection)) == (([], {"cat/a": "duplicate"}), {})


def test_content_the_parent_has_under_another_label_is_a_conflict() -> None:
    selection = select_images([image("cat/old", "e1"), image("dog/a", "e1")], [], parent(row("cat/old", "e1")))
    assert (outcome(selection), changed(selection)) == (([], {"dog/a": "conflict"}), {})
    assert selection.excluded["reason"].to_pylist() == [
        "the same bytes have another label at s3://photos/cat/old (cat)"
    ]


def test_a_conflict_lasts_as_long_as_both_labels_do() -> None:
    before = parent(row("cat/a", "e1", Status.CONFLICT), row("dog/a", "e1", Status.CONFLICT))
    both = select_images([image("cat/a", "e1"), image("dog/a", "e1")], [], before)
    assert outcome(both) == ([], {"cat/a": "conflict", "dog/a": "conflict"})
    one = select_images([image("cat/a", "e1")], [], before)
    assert outcome(one) == (["cat/a"], {"dog/a": "removed"})


def test_what_vanished_is_cut_out_and_accounted_for() -> None:
    selection = select_images([image("cat/b", "e2")], [], parent(row("cat/a", "e1"), row("cat/b", "e2")))
    assert (outcome(selection), changed(selection)) == (([], {"cat/a": "removed"}), {1: "removed"})
    assert selection.excluded["split"].to_pylist() == ["train"]


def test_what_was_removed_before_is_not_told_again_but_comes_back_to_its_split() -> None:
    before = parent(row("cat/a", "e1", Status.REMOVED, split="test"), row("cat/b", "e2"))
    assert statuses(select_images([image("cat/b", "e2")], [], before)) == {}
    back = select_images([image("cat/a", "e1"), image("cat/b", "e2")], [], before)
    assert (packed(back), back.known.splits_of_keys) == (["cat/a"], {("photos", "cat/a"): "test"})


def test_a_replaced_image_takes_the_split_of_the_one_before() -> None:
    selection = select_images([image("cat/a", "e2")], [], parent(row("cat/a", "e1", split="validation")))
    assert (outcome(selection), changed(selection)) == ((["cat/a"], {}), {1: "removed"})
    assert selection.known.splits_of_keys == {("photos", "cat/a"): "validation"}
    assert selection.known.counts == {"cat": {"validation": 1}}


def test_an_image_in_another_class_folder_is_packed_again_in_its_split() -> None:
    selection = select_images([image("dog/a", "e1")], [], parent(row("cat/a", "e1", split="test")))
    assert (outcome(selection), changed(selection)) == ((["dog/a"], {"cat/a": "removed"}), {1: "removed"})
    assert selection.known.splits_of_keys == {("photos", "dog/a"): "test"}
    assert selection.known.counts == {"dog": {"test": 1}}


def test_a_record_stays_for_another_object_with_its_bytes() -> None:
    listed = [image("cat/c", "e1"), image("cat/b", "e1")]
    selection = select_images(listed, [], parent(row("cat/a", "e1"), row("cat/b", "e1", Status.DUPLICATE)))
    assert (outcome(selection), changed(selection)) == (
        ([], {"cat/a": "removed", "cat/c": "duplicate"}),
        {1: "cat/b"},
    )


def test_removed_images_can_be_kept() -> None:
    before = parent(
        row("cat/a", "e1"), row("cat/b", "e1", Status.DUPLICATE), row("cat/c", "e2", "corrupt"), row("cat/d", "e4")
    )
    selection = select_images([image("cat/d", "e3")], [], before, keep_removed=True)
    assert outcome(selection) == (["cat/d"], {"cat/b": "removed", "cat/c": "corrupt"})
    assert (changed(selection), selection.listed) == ({4: "removed"}, 1)


def test_empty_objects_are_no_duplicates_of_each_other() -> None:
    selection = select_images([image("cat/a", "e0", 0), image("dog/b", "e0", 0)], [], parent())
    assert outcome(selection) == ([], {"cat/a": "empty", "dog/b": "empty"})


def test_what_belongs_to_no_class_is_listed_but_not_packed() -> None:
    loose = LeftOut(SourceImage("photos", "labels.csv", "e9", 4, ()), "ignored", "beside the class folders")
    selection = select_images([], [loose], parent())
    assert outcome(selection) == ([], {"labels.csv": "ignored"})
    assert selection.excluded["reason"].to_pylist() == ["beside the class folders"]


def test_an_image_that_was_packed_and_is_gone_is_removed_and_one_that_never_was_is_missing() -> None:
    gone = [LeftOut(SourceImage("photos", key, "", 0, ("cat",)), "missing", "gone") for key in ("cat/a", "cat/b")]
    selection = select_images([], gone, parent(row("cat/a", "e1")))
    assert outcome(selection) == ([], {"cat/a": "removed", "cat/b": "missing"})


def test_an_image_that_was_removed_stays_so_while_a_table_names_it() -> None:
    gone = LeftOut(SourceImage("photos", "cat/a", "", 0, ("cat",)), "missing", "gone")
    selection = select_images(
        [], [gone], parent(row("cat/a", "e1", Status.REMOVED, split="test"), row("cat/b", "e2", Status.REMOVED))
    )
    assert outcome(selection) == ([], {"cat/a": "removed"})
    assert [(row.etag, row.split) for row in to_rows(selection.excluded)] == [("e1", "test")]
    back = select_images([image("cat/a", "e9")], [], ParentImages(selection.excluded))
    assert (packed(back), back.known.splits_of_keys) == (["cat/a"], {("photos", "cat/a"): "test"})


def test_an_image_that_shows_no_class_any_more_is_cut_out() -> None:
    other = LeftOut(replace(image("cat/a", "e1"), labels=()), "skipped", "none of the classes")
    selection = select_images([], [other], parent(row("cat/a", "e1")))
    assert (outcome(selection), changed(selection)) == (([], {"cat/a": "skipped"}), {1: "removed"})


def test_the_same_bytes_in_several_given_splits_stay_held_out() -> None:
    images = [replace(image(f"cat/{split}", "e1"), split=split) for split in ("train", "validation", "test")]
    assert outcome(select_images(images, [], parent())) == (
        ["cat/test"],
        {"cat/train": "duplicate", "cat/validation": "duplicate"},
    )


def test_the_same_bytes_under_other_sets_of_labels_are_a_conflict_whatever_their_order() -> None:
    def labelled(key: str, *labels: str) -> SourceImage:
        return replace(image(key, "e1"), labels=labels)

    same = select_images([labelled("a", "sun", "sea"), labelled("b", "sea", "sun")], [], parent())
    assert outcome(same) == (["a"], {"b": "duplicate"})
    other = select_images([labelled("a", "sun", "sea"), labelled("b", "sea")], [], parent())
    assert outcome(other) == ([], {"a": "conflict", "b": "conflict"})
    assert other.excluded["reason"].to_pylist()[1] == "the same bytes have another label at s3://photos/a (sun, sea)"
