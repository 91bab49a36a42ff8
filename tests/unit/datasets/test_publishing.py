from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.datasets.errors import DatasetError
from include.datasets.layout import VersionLayout, version_name
from include.datasets.packing import pack_shard
from include.datasets.publishing import publish_version, remove_working_files
from include.datasets.version import DatasetVersion, load
from include.recordio.format import decode_image_record, read_records
from tests.support.dataset_bucket import RUN_AFTER, Bucket
from tests.support.pictures import jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Rows = Callable[[DatasetVersion], dict[str, dict[str, Any]]]


def test_a_version_holds_exactly_what_the_layout_promises(bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 9})
    version = bucket.build(bucket.conf(packing={"shard_images": 3}))
    assert [key.removeprefix(version.layout.prefix) for key in bucket.listing()] == [
        "dataset.json",
        "index/test.idx",
        "index/train.idx",
        "index/validation.idx",
        "labels.json",
        "manifest.parquet",
        "not-packed.txt",
        "packed.txt",
        "report.html",
        "test/test.rec",
        "train/train.rec",
        "validation/validation.rec",
    ]
    assert json.loads(bucket.get(version.layout.labels)) == ["cat", "dog"]
    assert DatasetVersion.model_validate_json(bucket.get(version.layout.document)) == version
    assert (version.counts.total, version.statuses, version.smallest_side) == (17, {"packed": 17}, 16)
    assert {label: counts.total for label, counts in version.class_counts.items()} == {"cat": 8, "dog": 9}


def test_the_smallest_height_and_the_smallest_width_are_those_of_different_images(bucket: Bucket) -> None:
    for number, (height, width) in enumerate([(20, 60), (50, 24), (40, 40), (33, 35)]):
        for place, label in enumerate(("cat", "dog")):
            bucket.put(f"images/{label}/{number}.jpg", jpeg(height, width, seed=2 * number + place))
    version = bucket.build(bucket.conf())
    assert (version.smallest_side, version.smallest_height, version.smallest_width) == (20, 20, 24)


def lists(bucket: Bucket, version: DatasetVersion) -> tuple[list[str], list[str]]:
    """The lines of `packed.txt` and of `not-packed.txt`."""
    for key in (version.layout.packed_list, version.layout.not_packed_list):
        head = bucket.s3.head_object(Bucket=bucket.name, Key=key)
        assert head["ContentType"] == "text/plain; charset=utf-8"
    texts = (bucket.get(key).decode() for key in (version.layout.packed_list, version.layout.not_packed_list))
    packed, not_packed = (text.split("\n") for text in texts)
    assert (packed.pop(), not_packed.pop()) == ("", ""), "every line ends with a line feed"
    return packed, not_packed


def test_two_plain_lists_say_what_was_packed_and_what_was_not_and_why(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    bucket.put("images/cat/broken.jpg", b"\xff\xd8\xff no image")
    bucket.put("images/cat/copy.jpg", bucket.get("images/cat/000.jpg"))
    bucket.put("images/cat/empty.jpg", b"")
    bucket.put("images/dog/notes.md", b"not an image")
    version = bucket.build(bucket.conf(max_bad_fraction=0.5))
    packed, not_packed = lists(bucket, version)
    assert packed == [f"s3://{bucket.name}/{key}" for key, row in rows(version).items() if row["status"] == "packed"]
    expected = [
        f"s3://{bucket.name}/{key}\t{row['status']}: {row['reason']}"
        for key, row in rows(version).items()
        if row["status"] != "packed"
    ]
    assert not_packed == expected
    assert {line.partition("\t")[2].partition(":")[0] for line in not_packed} >= {"corrupt", "duplicate", "empty"}


def test_the_lists_of_a_version_that_grew_are_of_all_its_images(bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    bucket.put("images/cat/broken.jpg", b"\xff\xd8\xff no image")
    parent = bucket.build(bucket.conf(max_bad_fraction=0.5))
    bucket.put_images({"cat": 2}, first=20)
    bucket.s3.delete_object(Bucket=bucket.name, Key="images/dog/000.jpg")
    later = RUN_AFTER + timedelta(days=1)
    child = bucket.build(bucket.conf(max_bad_fraction=0.5), "manual__2", run_after=later, parent=parent.uri)
    packed, not_packed = lists(bucket, child)
    keys = [key for key in bucket.listing("images/") if "broken" not in key]
    assert sorted(packed) == [f"s3://{bucket.name}/{key}" for key in keys]
    assert [line.partition(": ")[0] for line in sorted(not_packed)] == [
        f"s3://{bucket.name}/images/cat/broken.jpg\tcorrupt",
        f"s3://{bucket.name}/images/dog/000.jpg\tremoved",
    ]


def test_an_address_with_control_characters_stays_one_line(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    odd = ["images/cat/a\tb.jpg", "images/dog/\u2028x.jpg", 'images/dog/q"uote ü.jpg']
    for number, key in enumerate(odd):
        bucket.put(key, jpeg(20, 20, seed=90 + number))
    bucket.put("images/cat/c\td.jpg", b"\xff\xd8\xff no image")
    packed, not_packed = lists(bucket, bucket.build(bucket.conf(max_bad_fraction=0.5)))
    assert len(packed) == 15
    read = {json.loads(line) if line.startswith('"') else line for line in packed}
    assert read >= {f"s3://{bucket.name}/{key}" for key in odd}
    assert sum(line.startswith('"') for line in packed) == 2
    (line,) = not_packed
    address, reason = line.rsplit("\t", 1)
    assert json.loads(address) == f"s3://{bucket.name}/images/cat/c\td.jpg"
    assert reason.startswith("corrupt: ")


def test_manifest_index_and_records_agree(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 12, "dog": 12})
    version = bucket.build(bucket.conf(packing={"shard_images": 5}))
    by_id = {row["record_id"]: row for row in rows(version).values()}
    for split in ("train", "validation", "test"):
        rec = bucket.get(version.layout.records(split))
        offsets = {}
        for record in read_records(rec):
            image = decode_image_record(record.payload)
            row = by_id.pop(image.id)
            assert (row["split"], row["labels"]) == (split, [version.labels[int(image.labels[0])]])
            assert row["offset"] == record.offset
            offsets[image.id] = record.offset
        index = bucket.get(version.layout.index(split)).decode().splitlines()
        assert {int(line.split("\t")[0]): int(line.split("\t")[1]) for line in index} == offsets
        assert len(offsets) == version.count(split)
    assert not by_id


def test_publishing_twice_returns_the_same_version(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    results = [pack_shard(s3, plan, shard) for shard in plan.shards]
    version = publish_version(s3, plan, results)
    before = bucket.listing()
    assert publish_version(s3, plan, results) == version
    assert bucket.listing() == before


def test_planning_a_published_run_again_leaves_nothing_to_pack(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    version = bucket.build(bucket.conf())
    bucket.put_images({"cat": 4}, first=10)
    plan = bucket.plan(bucket.conf())
    assert (plan.published, plan.shards, plan.new_images) == (True, [], 8)
    assert publish_version(s3, plan, []) == version


def test_an_older_try_that_lost_the_race_returns_the_version_of_the_winner(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    results = [pack_shard(s3, plan, shard) for shard in plan.shards]
    with monkeypatch.context() as patch:
        patch.setattr("include.datasets.publishing.remove_working_files", lambda *_: 0)
        winner = publish_version(s3, plan, results)
        patch.setattr("include.datasets.publishing.find", lambda *_: None)
        assert publish_version(s3, plan, results) == winner


def test_a_missing_shard_is_named_and_nothing_is_published(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    with pytest.raises(DatasetError, match=r"3 planned shards and 1 packed ones, without \[1, 2\]"):
        publish_version(s3, plan, [pack_shard(s3, plan, plan.shards[0])])
    with pytest.raises(DatasetError, match="there is no dataset version at"):
        load(s3, plan.layout.uri)


def test_too_many_bad_images_are_counted_by_reason_with_examples(bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    for number in range(12):
        bucket.put(f"images/cat/bad{number:02d}.jpg", b"not an image %d" % number)
    bucket.put("images/cat/empty.jpg", b"")
    bucket.put("images/cat/a\nb.jpg", b"\xff\xd8\xff")
    with pytest.raises(DatasetError) as error:
        bucket.build(bucket.conf(max_bad_fraction=0.1))
    message = str(error.value)
    assert "14 of 30 images are bad (46.67%), dataset.max_bad_fraction allows 10.00%" in message
    assert "1 corrupt, 1 empty, 12 not_an_image" in message
    assert message.count(f"\n  s3://{bucket.name}/images/cat/") == 10
    assert "images/cat/empty.jpg: empty, the object has no bytes" in message
    assert r"images/cat/a\nb.jpg: corrupt" in message
    assert not [key for key in bucket.listing() if key.endswith("dataset.json")]


def test_every_image_is_accounted_for(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    bucket.put("images/readme.txt", b"beside the folders")
    bucket.put("images//nameless.jpg", jpeg(seed=78))
    bucket.put("images/cat/again.jpg", bucket.get("images/cat/000.jpg"))
    bucket.put("images/cat/both.jpg", jpeg(seed=77))
    bucket.put("images/dog/both.jpg", jpeg(seed=77))
    bucket.put("images/dog/broken.jpg", b"\xff\xd8\xff")
    bucket.put("images/dog/photo.jpg/", jpeg(seed=79))
    bucket.put("images/cat/", b"a folder with bytes")
    bucket.put("images/", b"another")
    version = bucket.build(bucket.conf(max_bad_fraction=0.5))
    assert version.statuses == {
        "conflict": 2,
        "corrupt": 1,
        "duplicate": 1,
        "ignored": 3,
        "not_an_image": 1,
        "packed": 11,
    }
    assert set(rows(version)) == set(bucket.listing("images/"))
    assert all(row["reason"] for row in rows(version).values() if row["status"] != "packed")


def test_a_split_without_images_has_no_channel(bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    conf = bucket.conf()
    shares = conf.split.model_copy(update={"validation": 0.2, "test": 0.0})
    version = bucket.build(conf.model_copy(update={"split": shares}))
    assert version.counts.test == 0
    assert version.layout.records("test") not in bucket.listing()
    with pytest.raises(DatasetError, match="has no test images"):
        version.channel_uri("test")


def test_a_grown_version_begins_with_the_records_of_its_parent(bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    parent = bucket.build(bucket.conf())
    bucket.put_images({"cat": 6, "dog": 5}, first=50)
    child = bucket.build(bucket.conf(), "scheduled__2", parent=parent.uri)

    assert (child.parent, child.new_images, child.counts.total) == (parent.uri, 11, 31)
    for split in ("train", "validation", "test"):
        assert bucket.get(child.layout.records(split)).startswith(bucket.get(parent.layout.records(split)))
    old, new = rows(parent), rows(child)
    assert {key: new[key] for key in old} == old
    assert len({row["record_id"] for row in new.values()}) == 31
    for row in new.values():
        rec = bucket.get(child.layout.records(row["split"]))
        record = next(read_records(rec[row["offset"] :]))
        assert decode_image_record(record.payload).id == row["record_id"]


def test_growing_reads_only_the_new_images(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 5, "dog": 5})
    parent = bucket.build(bucket.conf())
    bucket.put_images({"cat": 1}, first=50)
    plan = bucket.plan(bucket.conf(), "scheduled__2", parent=parent.version)
    assert [shard.images for shard in plan.shards] == [1]


def test_a_replaced_image_stays_in_the_split_of_the_one_before_it(bucket: Bucket) -> None:
    bucket.put_images({"cat": 10, "dog": 10})
    parent = bucket.build(bucket.conf())
    bucket.put_images({"cat": 10, "dog": 10}, side=20)
    child = bucket.build(bucket.conf(), "scheduled__2", parent=parent.uri)
    for split in ("train", "validation", "test"):
        assert child.count(split) == parent.count(split)
    assert (child.newly_packed, child.smallest_side) == (20, 20)


def test_an_image_that_was_missing_is_looked_for_again(s3: S3Client, bucket: Bucket, rows: Rows) -> None:
    bucket.put_images({"cat": 9, "dog": 9})
    conf = bucket.conf(max_bad_fraction=0.5)
    plan = bucket.plan(conf)
    lost = bucket.get("images/cat/000.jpg")
    s3.delete_object(Bucket=bucket.name, Key="images/cat/000.jpg")
    parent = publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])
    assert rows(parent)["images/cat/000.jpg"]["status"] == "missing"

    bucket.put("images/cat/000.jpg", lost)
    child = bucket.build(conf, "scheduled__2", parent=parent.uri)
    assert rows(child)["images/cat/000.jpg"]["status"] == "packed"


def test_what_a_killed_build_left_behind_can_be_removed(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    pack_shard(s3, plan, plan.shards[0])
    s3.create_multipart_upload(Bucket=bucket.name, Key=plan.layout.packed_shard(1))
    assert remove_working_files(s3, plan.layout) == len(plan.shards) + 2 + 3
    assert (bucket.listing(), bucket.stale_uploads()) == ([], 0)


def unfinished(bucket: Bucket) -> list[str]:
    listing = bucket.s3.list_multipart_uploads(Bucket=bucket.name)
    return [upload["Key"].split("/")[2] for upload in listing.get("Uploads", [])]


def test_uploads_of_this_run_and_of_runs_long_dead_are_aborted_and_no_others(s3: S3Client, bucket: Bucket) -> None:
    now = datetime.now(UTC)
    own, running = version_name("own", now), version_name("running", now - timedelta(days=6))
    dead = version_name("dead", now - timedelta(days=8))
    for name in (own, running, dead, "by-hand"):
        key = VersionLayout(bucket.name, "pets", name).packed_shard(0)
        s3.create_multipart_upload(Bucket=bucket.name, Key=key)
    s3.create_multipart_upload(Bucket=bucket.name, Key=VersionLayout(bucket.name, "pets2", dead).packed_shard(0))
    remove_working_files(s3, VersionLayout(bucket.name, "pets", own))
    assert sorted(unfinished(bucket)) == sorted([running, "by-hand", dead])
