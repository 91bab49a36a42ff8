from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cv2
import pytest

from include.datasets.errors import DatasetError
from include.datasets.manifest import ManifestRow, read_manifest, to_rows
from include.datasets.packing.images_in_order import pack_images
from include.datasets.packing.shard import ProgressMeter, ShardProgress, ShardResult, pack_shard
from include.datasets.version import ShardTask
from include.recordio.format import decode_image_record, read_records
from include.recordio.images import pack_image
from include.recordio.options import ImageOptions
from tests.fuzz.bounds import within
from tests.support.dataset_bucket import Bucket
from tests.support.hostile_images import hostile_images, rare_hostile_images
from tests.support.pictures import jpeg, pixels, png, rotated_jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ODD_KEYS = [
    "a b.jpg",
    "../up.jpg",
    "x//y.jpg",
    "tab\there.jpg",
    "line\nbreak.jpg",
    "ü日本.jpg",
    "sub/same.jpg",
    "same.jpg",
]


def test_a_shard_holds_its_images_in_the_planned_order(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 12, "dog": 12})
    plan = bucket.plan(bucket.conf(packing={"resize": 8, "quality": 70}))
    shard = plan.shards[0]
    planned = to_rows(read_manifest(s3, bucket.name, plan.layout.planned_shard(0)))

    result = pack_shard(s3, plan, shard)

    rec = bucket.get(plan.layout.packed_shard(0))
    rows = to_rows(read_manifest(s3, bucket.name, plan.layout.shard_manifest(0)))
    assert (result.records, result.bytes, result.bad) == (shard.images, len(rec), {})
    assert [row.key for row in rows] == [row.key for row in planned]
    for record, row in zip(read_records(rec), rows, strict=True):
        image = decode_image_record(record.payload)
        packed = pack_image(bucket.get(row.key), ImageOptions(resize=8, quality=70))
        assert (image.id, image.image, record.offset) == (row.record_id, packed.data, row.offset)
        assert plan.labels[int(image.labels[0])] == row.labels[0]
        assert (row.status, row.width, row.height) == ("packed", packed.width, packed.height)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_of_any_shape_is_packed(s3: S3Client, bucket: Bucket, key: str) -> None:
    bucket.put(f"images/cat/{key}", jpeg(seed=1))
    bucket.put(f"images/dog/{key}", jpeg(seed=2))
    plan = bucket.plan(bucket.conf())
    results = [pack_shard(s3, plan, shard) for shard in plan.shards]
    assert sum(result.records for result in results) == 2


def test_bad_images_become_rows_with_their_reason(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    bucket.put("images/cat/notes.txt", b"no image at all")
    bucket.put("images/cat/broken.png", png()[:60])
    bucket.put("images/cat/half.jpg", jpeg(40, 40)[:-200])
    bucket.put("images/dog/deleted.jpg", jpeg(seed=90))
    bucket.put("images/dog/replaced.jpg", jpeg(seed=91))
    bucket.put("images/dog/tiny.jpg", jpeg(9, 40))
    bucket.put("images/dog/phone.jpg", rotated_jpeg(40, 60))
    bucket.put("images/dog/really a png.jpg", png(30, 20))
    plan = bucket.plan(bucket.conf(packing={"shard_images": 3, "minimum_side": 10}))
    s3.delete_object(Bucket=bucket.name, Key="images/dog/deleted.jpg")
    bucket.put("images/dog/replaced.jpg", jpeg(seed=92))

    for shard in plan.shards:
        pack_shard(s3, plan, shard)

    rows = {
        row.key.removeprefix("images/"): row
        for shard in plan.shards
        for row in to_rows(read_manifest(s3, bucket.name, plan.layout.shard_manifest(shard.index)))
    }
    bad = {key: row for key, row in rows.items() if row.status != "packed"}
    assert {key: row.status for key, row in bad.items()} == {
        "cat/notes.txt": "not_an_image",
        "cat/broken.png": "corrupt",
        "dog/deleted.jpg": "missing",
        "dog/replaced.jpg": "changed",
        "dog/tiny.jpg": "too_small",
    }
    assert all(row.reason and row.split is None and row.record_id is None for row in bad.values())
    assert rows["cat/half.jpg"].reason == "truncated: the missing part is gray"
    assert rows["dog/phone.jpg"].reason == "turned upright: its EXIF orientation is 6"
    assert rows["dog/really a png.jpg"].reason == "a PNG named .jpg"
    assert len(rows) == 16


@pytest.mark.parametrize("pass_through", [False, True])
def test_images_made_to_hurt_are_bad_and_stop_no_shard(s3: S3Client, bucket: Bucket, pass_through: bool) -> None:
    hostile = hostile_images() | rare_hostile_images()
    for number, source in enumerate(hostile.values()):
        bucket.put(f"images/cat/{number}.jpg", source)
    bucket.put_images({"cat": 3, "dog": 3})
    plan = bucket.plan(bucket.conf(packing={"pass_through": pass_through}, max_bad_fraction=1))
    with within(seconds=20, megabytes=300):
        results = [pack_shard(s3, plan, shard) for shard in plan.shards]
    assert sum(result.records for result in results) >= 6
    assert sum(sum(result.bad.values()) for result in results) > 50
    assert {status for result in results for status in result.bad} <= {"corrupt", "too_large", "unsupported"}


def test_images_that_pass_through_are_packed_as_they_are_and_still_measured(bucket: Bucket) -> None:
    sources = {
        f"images/{label}/{number}.jpg": jpeg(20, 30, seed=10 * number + ord(label))
        for label in "ab"
        for number in (1, 2)
    }
    sources["images/a/3.png"] = png(41, 17, 4)
    for key, body in sources.items():
        bucket.put(key, body)
    version = bucket.build(bucket.conf(packing={"pass_through": True}))
    packed = [
        decode_image_record(record.payload).image
        for split in ("train", "validation", "test")
        if version.count(split)
        for record in read_records(bucket.get(version.layout.records(split)))
    ]
    assert sorted(packed) == sorted(sources.values())
    assert (version.smallest_side, version.packing.pass_through) == (17, True)


def test_what_training_could_not_read_does_not_pass_through(bucket: Bucket) -> None:
    bucket.put_images({"cat": 6, "dog": 6})
    bucket.put("images/cat/half.jpg", jpeg(40, 40)[:-200])
    bucket.put("images/cat/notes.txt", b"no image at all")
    for ending in ("webp", "gif"):
        bucket.put(f"images/dog/other.{ending}", cv2.imencode(f".{ending}", pixels(30, 30))[1].tobytes())
    version = bucket.build(bucket.conf(packing={"pass_through": True}, max_bad_fraction=0.3))
    assert version.statuses == {"corrupt": 1, "not_an_image": 1, "packed": 12, "unsupported": 2}


def test_a_finished_shard_is_not_packed_again(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    plan = bucket.plan(bucket.conf())
    first = pack_shard(s3, plan, plan.shards[0])
    for key in bucket.listing("images/"):
        s3.delete_object(Bucket=bucket.name, Key=key)
    assert pack_shard(s3, plan, plan.shards[0]) == first
    assert ShardResult.model_validate(first.model_dump(mode="json")) == first


def test_a_shard_of_an_older_plan_is_packed_again(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    plan = bucket.plan(bucket.conf())
    first = pack_shard(s3, plan, plan.shards[0])
    bucket.put_images({"cat": 10, "dog": 10}, first=3)
    plan = bucket.plan(bucket.conf())
    second = pack_shard(s3, plan, plan.shards[0])
    assert second.records == plan.shards[0].images > first.records


def test_the_same_images_give_the_same_bytes(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 8, "dog": 8})
    packed = []
    for run_id in ("manual__1", "manual__2"):
        plan = bucket.plan(bucket.conf(), run_id)
        pack_shard(s3, plan, plan.shards[0])
        packed.append(bucket.get(plan.layout.packed_shard(0)))
    assert packed[0] == packed[1]


def test_a_small_byte_budget_changes_nothing_but_the_pace(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("include.datasets.packing.images_in_order.BYTES_IN_FLIGHT", 1)
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    assert pack_shard(s3, plan, plan.shards[0]).records == plan.shards[0].images


def test_progress_is_told_at_the_end(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    told: list[ShardProgress] = []
    pack_shard(s3, plan, plan.shards[0], report=told.append)
    assert (told[-1].done, told[-1].total, told[-1].bad) == (plan.shards[0].images, plan.shards[0].images, 0)
    assert told[-1].images_per_second > 0
    assert told[-1].megabytes_per_second > 0
    assert told[-1].eta_seconds == 0
    assert re.match(r"Shard 0 \(train\): \d+ of \d+ images, 0 of them bad, .* images/s, .* MB/s, 0 s", str(told[-1]))


def test_what_is_left_takes_as_long_as_the_pace_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 105.0, 110.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    told: list[ShardProgress] = []
    meter = ProgressMeter(ShardTask(index=3, split="train", images=8, fingerprint="x"), told.append)
    meter.step(3_000_000, bad=False)
    meter.step(1_000_000, bad=True)
    assert str(told[0]) == "Shard 3 (train): 2 of 8 images, 1 of them bad, 0 images/s, 0.4 MB/s, 30 s to go"


def test_an_object_too_large_for_a_record_is_not_read(bucket: Bucket) -> None:
    row = ManifestRow(bucket.name, "images/none.jpg", "e", 1 << 29, "train", ("cat",), "planned")
    (packed,) = pack_images(bucket.s3, [row], ImageOptions())
    assert (packed.row.status, packed.image) == ("too_large", None)


def test_an_upload_that_fails_leaves_no_half_shard(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_images({"cat": 4, "dog": 4})
    plan = bucket.plan(bucket.conf())
    monkeypatch.setattr("include.datasets.multipart.SINK_PART", 300)
    monkeypatch.setattr(s3, "complete_multipart_upload", lambda **_: (_ for _ in ()).throw(RuntimeError("worker lost")))
    with pytest.raises(RuntimeError, match="worker lost"):
        pack_shard(s3, plan, plan.shards[0])
    assert bucket.listing(plan.layout.shards) == []
    assert bucket.stale_uploads() == 0


def test_a_shard_whose_plan_is_gone_says_what_to_clear(s3: S3Client, bucket: Bucket) -> None:
    bucket.put_images({"cat": 3, "dog": 3})
    plan = bucket.plan(bucket.conf())
    s3.delete_object(Bucket=bucket.name, Key=plan.layout.planned_shard(0))
    with pytest.raises(DatasetError, match=r"the plan of shard 0 .* was deleted.*clear the planning task"):
        pack_shard(s3, plan, plan.shards[0])
