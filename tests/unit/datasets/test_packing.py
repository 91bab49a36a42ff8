from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import boto3
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.manifest import ManifestRow, read_manifest, to_rows
from include.datasets.objects import is_plain_key
from include.datasets.packing import ObjectFetcher, ProgressMeter, ShardProgress, ShardResult, pack_images, pack_shard
from include.datasets.version import ShardTask, held_out_images
from include.recordio.format import decode_image_record, read_records
from include.recordio.images import ImageError, accept_image, pack_image
from include.recordio.options import ImageOptions, working_bytes
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
    monkeypatch.setattr("include.datasets.packing.BYTES_IN_FLIGHT", 1)
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
    monkeypatch.setattr("include.datasets.objects.SINK_PART", 300)
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


SEGMENTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
ODD = st.sampled_from(["a b", "..", ".", "", "a\tb", "a\nb", "%2F", "%", "a+b", "#?&=", "日本", "\u0301e", "~*'()"])


def fetch(s3: S3Client, row: ManifestRow) -> bytes:
    return ObjectFetcher(s3).fetch(row)


def listed(bucket: Bucket, key: str, body: bytes) -> ManifestRow:
    etag = bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=body)["ETag"].strip('"')
    return ManifestRow(bucket.name, key, etag, len(body), "train", ("cat",), "planned")


@settings(max_examples=30)
@given(segments=st.lists(SEGMENTS | ODD, min_size=1, max_size=4))
def test_every_key_gives_the_bytes_that_lie_under_it(s3: S3Client, bucket: Bucket, segments: list[str]) -> None:
    key = "/".join(["images", *segments])
    body = uuid.uuid4().bytes
    assert fetch(s3, listed(bucket, key, body)) == body


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "a/../b", "./a", "a\nb", "a\x7fb"])
def test_keys_that_obstore_refuses_are_told_apart(key: str) -> None:
    assert not is_plain_key(key)


@pytest.mark.parametrize("key", ["images/cat.jpg", "images/odd\tkey.jpg"])
def test_a_deleted_object_is_missing_and_a_replaced_one_changed(s3: S3Client, bucket: Bucket, key: str) -> None:
    row = listed(bucket, key, b"first")
    bucket.put(key, b"other")
    with pytest.raises(ImageError) as changed:
        fetch(s3, row)
    s3.delete_object(Bucket=bucket.name, Key=key)
    with pytest.raises(ImageError) as missing:
        fetch(s3, row)
    assert (changed.value.status, missing.value.status) == ("changed", "missing")


@pytest.mark.parametrize("key", ["images/cat.jpg", "images/odd\tkey.jpg"])
def test_a_body_of_another_length_than_listed_is_no_image(s3: S3Client, bucket: Bucket, key: str) -> None:
    row = listed(bucket, key, b"12345")
    row = ManifestRow(row.bucket, row.key, row.etag, 9, row.split, row.labels, row.status)
    with pytest.raises(OSError, match="was listed with 9 bytes but arrives with 5"):
        fetch(s3, row)


def test_the_clients_endpoint_stands_above_the_environment(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    row = listed(bucket, "images/cat.jpg", b"12345")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    assert fetch(s3, row) == b"12345"


def test_a_server_that_is_gone_is_an_error_and_not_a_bad_image(bucket: Bucket, unused_tcp_port: int) -> None:
    row = listed(bucket, "images/odd\tkey.jpg", b"12345")
    gone = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{unused_tcp_port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=boto3.session.Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(Exception, match="Could not connect"):
        fetch(gone, row)


def put_pictures(bucket: Bucket) -> dict[str, bytes]:
    """Colour, gray, transparent and 16-bit pictures of two classes."""
    sources = {}
    for place, label in enumerate(("cat", "dog")):
        for number in range(12):
            seed = 2 * number + place
            deep = np.random.default_rng(seed).integers(0, 65535, (20, 24, 3), dtype=np.uint16)
            kinds = [
                (".jpg", jpeg(20, 24, seed=seed)),
                (".jpg", jpeg(20, 24, 1, seed)),
                (".png", png(20, 24, 4, seed)),
                (".png", cv2.imencode(".png", deep)[1].tobytes()),
            ]
            ending, body = kinds[number % 4]
            sources[f"images/{label}/{number}{ending}"] = body
    for key, body in sources.items():
        bucket.put(key, body)
    return sources


@pytest.mark.parametrize("color", [-1, 0, 1])
@pytest.mark.parametrize("encoding", ["jpg", "png"])
def test_a_version_is_packed_as_im2rec_packs_with_this_color(bucket: Bucket, color: int, encoding: str) -> None:
    sources = put_pictures(bucket)
    packing = {"color": color, "encoding": encoding, "resize": 16, "quality": 9}
    version = bucket.build(bucket.conf(packing=packing, split={"train": 0.4, "validation": 0.2, "test": 0.4}))
    options = ImageOptions(color=color, encoding=f".{encoding}", resize=16, quality=9)  # type: ignore[arg-type]
    assert version.packing == options
    shapes = set()
    for image in held_out_images(bucket.s3, version):
        assert image.image_bytes == pack_image(sources[image.key], options).data
        pixels = cv2.imdecode(np.frombuffer(image.image_bytes, np.uint8), cv2.IMREAD_UNCHANGED)
        shapes.add((pixels.shape[2:], pixels.dtype.name))
    expected = {0: {((), "uint8")}, 1: {((3,), "uint8")}}
    assert shapes == expected[color] if color >= 0 else len(shapes) > 1


def test_a_version_does_not_grow_with_other_channels(bucket: Bucket) -> None:
    put_pictures(bucket)
    parent = bucket.build(bucket.conf(packing={"color": 0}))
    with pytest.raises(DatasetError, match=r"dataset\.packing differs from parent version .* \(color 0 -> 1\)"):
        bucket.plan(bucket.conf(), "manual__2", parent=parent.uri)


@pytest.mark.parametrize(("channels", "dtype"), [(4, np.uint8), (3, np.uint16), (4, np.uint16), (1, np.uint16)])
def test_the_memory_of_an_image_that_keeps_its_channels_is_counted(channels: int, dtype: type) -> None:
    shape = (400, 500) if channels == 1 else (400, 500, channels)
    source = cv2.imencode(".png", np.zeros(shape, dtype))[1].tobytes()
    decoded = np.zeros(shape, dtype).nbytes
    assert working_bytes(accept_image(source), ImageOptions(color=-1)) >= 3 * decoded
