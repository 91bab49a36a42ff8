"""A version of some of the labels: what was not asked for is counted, and images that show none are a choice."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.layout import SPLITS
from include.datasets.plan import find_new_images
from include.datasets.unpacking.unpack import unpack_sources
from include.datasets.version import DatasetVersion, held_out_images, load
from include.recordio.format import decode_image_record, read_records
from include.retraining import dataset_conf
from include.run_conf import RunConf, RunConfError
from tests.support.archives import zip_of
from tests.support.dataset_bucket import Bucket
from tests.support.pictures import jpeg
from tests.unit.datasets.sources.inventories import Report

if TYPE_CHECKING:
    from include.run_conf import DatasetConf

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]
COUNTS = {"ape": 6, "cat": 9, "dog": 5, "owl": 4, "yak": 1}
SCENES = {f"{number:02d}.jpg": f"{number:05b}" for number in range(32)}
"""Images by all combinations of five labels; one shows none."""
LABELS = ["sun", "sea", "snow", "rain", "fog"]


def section(bucket: Bucket, version: DatasetVersion, title: str) -> str:
    page = bucket.get(version.layout.report).decode()
    found = re.search(rf"<section><h2>{title}</h2>(.*?)</section>", page, re.DOTALL)
    return re.sub(r"<[^>]*>", "|", found[1]) if found else ""


def single(bucket: Bucket, kind: str) -> DatasetConf:
    """A source of the five animals, of which two are asked for."""
    bucket.put_images(COUNTS)
    keys = [(f"{label}/{number:03d}.jpg", label) for label, count in COUNTS.items() for number in range(count)]
    asked: dict[str, Any] = {"labels": ["dog", "ape"]}
    if kind == "table":
        bucket.put("t.csv", "\n".join(["path,label", *(f"{key},{label}" for key, label in keys)]).encode())
        asked["label_tables"] = [f"s3://{bucket.name}/t.csv"]
    elif kind == "labels_file":
        bucket.put("two.txt", b"dog\nape\n")
        asked = {"labels_file": f"s3://{bucket.name}/two.txt"}
    elif kind == "inventory":
        asked["inventory"] = Report(bucket).write()
    elif kind == "archive":
        bucket.put("a.zip", zip_of({key: bucket.get(f"images/{key}") for key, _ in keys}))
        asked["source"] = [f"s3://{bucket.name}/a.zip"]
    conf = bucket.conf(**asked)
    if kind == "archive":
        unpack_sources(bucket.s3, conf, bucket.name)
    return conf


@pytest.mark.parametrize("kind", ["folders", "labels_file", "table", "inventory", "archive"])
def test_what_was_not_asked_for_is_told_everywhere(
    bucket: Bucket, rows: Rows, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    conf = single(bucket, kind)
    caplog.set_level(logging.INFO)
    version = bucket.build(conf)
    assert version.statuses == {"not_asked": 14, "packed": 11}
    assert version.not_asked == {"cat": 9, "owl": 4, "yak": 1}
    assert json.loads(bucket.get(version.layout.document))["not_asked"] == version.not_asked
    assert "left out: {'not_asked': 14}" in caplog.text
    assert "Labels that were not asked for, with their images: cat 9, owl 4, yak 1" in caplog.text
    left_out = [row for row in rows(version).values() if row["status"] == "not_asked"]
    assert Counter(label for row in left_out for label in row["labels"]) == version.not_asked
    assert all(
        (row["reason"], row["split"]) == ("its class is not one of the version's labels", None) for row in left_out
    )
    became = section(bucket, version, "What became of each image")
    assert "Left out by choice: 14 images of 3 classes not asked for." in became
    assert all(words in became for words in ("|not_asked|", "|14|", "56.00%"))
    told = section(bucket, version, "Labels that were not asked for")
    assert "14 images of the source have one of these labels" in told
    assert re.findall(r"\|(cat|owl|yak)\|+(\d+)\|", told) == [("cat", "9"), ("owl", "4"), ("yak", "1")]


def test_labels_that_were_not_asked_for_are_not_new_ones(bucket: Bucket) -> None:
    version = bucket.build(single(bucket, "folders"))
    bucket.put_images({"emu": 2})
    assert find_new_images(bucket.s3, bucket.conf(), version).new_labels == ("emu",)


def test_all_labels_leave_nothing_to_tell(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    caplog.set_level(logging.INFO)
    version = bucket.build(bucket.conf())
    assert (version.not_asked, version.statuses) == ({}, {"packed": 8})
    assert "left out: none" in caplog.text
    assert section(bucket, version, "Labels that were not asked for") == ""
    assert "by choice" not in section(bucket, version, "What became of each image")


def test_folders_that_are_not_splits_are_in_the_manifest(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"train/cat": 4, "train/dog": 4, "train/owl": 2, "test/cat": 2, "test/dog": 2, "extra/cat": 3})
    version = bucket.build(bucket.conf(layout="split_folders", labels=["cat", "dog"]))
    assert version.statuses == {"ignored": 3, "not_asked": 2, "packed": 12}
    assert rows(version)["images/extra/cat/000.jpg"]["reason"] == "its folder is not named for a split"


def several(bucket: Bucket, scenes: dict[str, str] = SCENES, **changes: Any) -> DatasetConf:
    lines = [",".join((path, *flags)) for path, flags in scenes.items()]
    bucket.put("t.csv", "\n".join([f"path,{','.join(LABELS)}", *lines]).encode())
    for path in scenes:
        bucket.put(f"images/{path}", jpeg(16, 20, seed=int(path[:2])))
    return bucket.conf(**{"label_tables": [f"s3://{bucket.name}/t.csv"], "multi_label": True, **changes})


@pytest.mark.parametrize("negatives", ["keep", "drop", None])
def test_images_that_show_none_of_the_labels_are_kept_or_dropped(
    bucket: Bucket, rows: Rows, negatives: str | None
) -> None:
    choice = {"negatives": negatives} if negatives else {}
    version = bucket.build(several(bucket, labels=["fog", "sea"], **choice))
    none = {f"images/{path}" for path, flags in SCENES.items() if flags[1] == flags[4] == "0"}
    assert version.negatives == negatives or (negatives is None and version.negatives == "keep")
    assert version.not_asked == {"rain": 16, "snow": 16, "sun": 16}
    vectors = [
        decode_image_record(record.payload).labels
        for split in SPLITS
        for record in read_records(bucket.get(version.layout.records(split)))
    ]
    if negatives == "drop":
        assert version.statuses == {"packed": 24, "skipped": 8}
        assert {key for key, row in rows(version).items() if row["status"] == "skipped"} == none
        assert ((0.0, 0.0) in vectors, version.negative_images) == (False, 0)
    else:
        assert version.statuses == {"packed": 32}
        assert (vectors.count((0.0, 0.0)), version.negative_images) == (8, 8)
        assert {row["split"] for key, row in rows(version).items() if key in none} == set(SPLITS)
        assert "show none of the labels" in bucket.get(version.layout.report).decode()
        assert any(not any(image.labels) for image in held_out_images(bucket.s3, version))


def test_an_image_without_any_label_is_kept_whichever_labels_are_asked_for(bucket: Bucket, rows: Rows) -> None:
    version = bucket.build(several(bucket))
    assert (version.negative_images, version.not_asked, version.statuses) == (1, {}, {"packed": 32})
    assert rows(version)["images/00.jpg"]["labels"] == []


@pytest.mark.parametrize("negatives", ["keep", "drop"])
def test_growth_keeps_the_choice_of_the_parent(bucket: Bucket, negatives: str) -> None:
    asked = {"labels": ["fog", "sea"]}
    some = dict(list(SCENES.items())[:24])
    parent = bucket.build(several(bucket, some, **asked, negatives=negatives))
    other = several(bucket, SCENES, **asked, negatives="drop" if negatives == "keep" else "keep")
    arrived = [flags for flags in list(SCENES.values())[24:] if negatives == "keep" or "1" in flags[1] + flags[4]]
    assert find_new_images(bucket.s3, other, parent).count == len(arrived)
    grown = bucket.build(other, "manual__2", parent=parent.uri)
    assert (grown.negatives, grown.counts.total) == (negatives, parent.counts.total + len(arrived))
    assert dataset_conf(other, grown).negatives == negatives


def test_only_images_that_show_none_can_arrive(bucket: Bucket) -> None:
    parent = bucket.build(several(bucket))
    more = {**SCENES, **{f"{number}.jpg": "00000" for number in range(40, 46)}}
    grown = bucket.build(several(bucket, more), "manual__2", parent=parent.uri)
    assert (grown.counts.total, grown.negative_images) == (38, 7)


def test_a_version_of_before_the_choice_has_dropped_them(bucket: Bucket) -> None:
    version = bucket.build(several(bucket, labels=["fog", "sea"], negatives="drop"))
    document = json.loads(bucket.get(version.layout.document))
    for name in ("negatives", "not_asked", "negative_images"):
        del document[name]
    bucket.put(version.layout.document, json.dumps(document).encode())
    old = load(bucket.s3, version.uri)
    assert (old.negatives, old.not_asked, old.negative_images) == ("drop", {}, 0)
    assert find_new_images(bucket.s3, several(bucket, labels=["fog", "sea"]), old).count == 0


def test_a_row_without_a_label_is_unlabelled_where_an_image_has_one(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    lines = [f"{label}/{number:03d}.jpg,{label if number else ''}" for label in ("cat", "dog") for number in range(4)]
    bucket.put("t.csv", "\n".join(["path,label", *lines]).encode())
    version = bucket.build(bucket.conf(label_tables=[f"s3://{bucket.name}/t.csv"], max_bad_fraction=0))
    assert version.statuses == {"packed": 6, "unlabelled": 2}
    assert rows(version)["images/cat/000.jpg"]["reason"] == "its row of the label table is empty"


def test_dropping_negatives_of_single_labels_is_refused() -> None:
    with pytest.raises(RunConfError, match=r"dataset\.negatives = drop: is for multi-label sources"):
        RunConf.from_conf({"dataset.negatives": "drop"})
    assert RunConf().dataset.negatives == "keep"
