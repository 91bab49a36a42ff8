from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from include.datasets.errors import DatasetError
from include.datasets.objects import S3_LIMITS, ByteRange, ObjectSink, PartLimits, compose, merge, plan_parts
from tests.support.dataset_bucket import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


LIMITS = PartLimits(smallest=5, largest=20, count=8)

RANGES = st.lists(
    st.builds(
        lambda key, start, size: ByteRange(key, start, start + size),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 200),
        st.integers(0, 60),
    ),
    max_size=14,
)


@given(RANGES)
def test_parts_hold_every_byte_in_order_within_the_limits(ranges: list[ByteRange]) -> None:
    parts = plan_parts(ranges, LIMITS)

    flat = [(piece.key, byte) for part in parts for piece in part for byte in range(piece.start, piece.end)]
    assert flat == [(piece.key, byte) for piece in ranges for byte in range(piece.start, piece.end)]
    lengths = [sum(piece.size for piece in part) for part in parts]
    assert all(5 <= length <= 20 for length in lengths[:-1])
    assert all(0 < length <= 20 for length in lengths[-1:])
    assert all(sum(piece.size for piece in part) <= 5 for part in parts if len(part) > 1)


def test_ranges_around_nothing_cut_out_are_one() -> None:
    pieces = [ByteRange("a", 0, 10), ByteRange("a", 10, 10), ByteRange("a", 10, 30), ByteRange("a", 31, 40)]
    assert list(merge(pieces)) == [ByteRange("a", 0, 30), ByteRange("a", 31, 40)]


def test_sources_over_the_largest_part_are_copied_in_even_pieces() -> None:
    size = 12 << 30
    parts = plan_parts([ByteRange("train.rec", 0, size), ByteRange("new.rec", 0, 9)], S3_LIMITS)
    assert [part[0].size for part in parts] == [1 << 30] * 12 + [9]
    assert all(len(part) == 1 for part in parts)


def test_only_what_surrounds_a_cut_is_read() -> None:
    megabyte = 1 << 20
    cut = [
        ByteRange("train.rec", 0, 20 * megabyte),
        ByteRange("train.rec", 21 * megabyte, 23 * megabyte),
        ByteRange("train.rec", 24 * megabyte, 90 * megabyte),
        ByteRange("new.rec", 0, 100),
    ]
    read = [part for part in plan_parts(cut, S3_LIMITS) if len(part) > 1]
    assert read == [(cut[1], ByteRange("train.rec", 24 * megabyte, 27 * megabyte))]


def pieces_of(bucket: Bucket, sizes: list[int]) -> tuple[list[ByteRange], bytes]:
    whole = b""
    pieces = []
    for number, size in enumerate(sizes):
        body = os.urandom(size)
        bucket.put(f"pieces/{number}", body)
        pieces.append(ByteRange(f"pieces/{number}", 0, size))
        whole += body
    return pieces, whole


SMALLEST = S3_LIMITS.smallest


@pytest.mark.parametrize("sizes", [[10], [10, 20, 30], [SMALLEST], [SMALLEST + 5, 10], [100, SMALLEST + 7, 200, 300]])
def test_the_composed_object_is_the_concatenation(s3: S3Client, bucket: Bucket, sizes: list[int]) -> None:
    pieces, whole = pieces_of(bucket, sizes)
    assert compose(s3, bucket.name, "whole", pieces, scratch="scratch/") == len(whole)
    assert bucket.get("whole") == whole
    assert bucket.stale_uploads() == 0
    assert bucket.listing("scratch/") == []


@settings(max_examples=20)
@given(ranges=RANGES)
def test_any_ranges_become_their_concatenation(s3: S3Client, bucket: Bucket, ranges: list[ByteRange]) -> None:
    bodies = {key: os.urandom(260) for key in "abc"}
    for key, body in bodies.items():
        bucket.put(key, body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", LIMITS.smallest)
        compose(s3, bucket.name, "whole", [*ranges, ByteRange("a", 0, 1)], scratch="scratch/", limits=MANY)
    assert (
        bucket.get("whole")
        == b"".join(bodies[piece.key][piece.start : piece.end] for piece in ranges) + bodies["a"][:1]
    )


MANY = PartLimits(smallest=5, largest=200, count=4)


def test_more_parts_than_an_upload_may_have_are_joined_first(
    s3: S3Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", MANY.smallest)
    pieces, whole = pieces_of(bucket, [6] * 30)
    assert len(plan_parts(pieces, MANY)) == 30
    compose(s3, bucket.name, "whole", pieces, scratch="scratch/", limits=MANY)
    assert bucket.get("whole") == whole
    assert s3.head_object(Bucket=bucket.name, Key="whole")["ETag"].endswith('-2"')
    assert bucket.stale_uploads() == 0


def test_more_bytes_than_an_object_may_have_are_refused(s3: S3Client, bucket: Bucket) -> None:
    pieces, _ = pieces_of(bucket, [60])
    with pytest.raises(DatasetError, match="more bytes than S3 puts into an object"):
        compose(s3, bucket.name, "whole", pieces, scratch="scratch/", limits=PartLimits(smallest=5, largest=6, count=2))
    assert bucket.listing("whole") == []


def test_a_failed_composition_leaves_no_upload_behind(s3: S3Client, bucket: Bucket) -> None:
    pieces, _ = pieces_of(bucket, [SMALLEST + 1])
    with pytest.raises(ClientError):
        compose(s3, bucket.name, "whole", [*pieces, ByteRange("pieces/gone", 0, SMALLEST)], scratch="scratch/")
    assert bucket.stale_uploads() == 0
    assert bucket.listing("whole") == []


@pytest.mark.parametrize("writes", [[], [b"small"], [b"x" * 7_000_000] * 6])
def test_a_sink_becomes_one_object(s3: S3Client, bucket: Bucket, writes: list[bytes]) -> None:
    with ObjectSink(s3, bucket.name, "sink") as sink:
        for data in writes:
            sink.write(data)
    assert bucket.get("sink") == b"".join(writes)
    assert bucket.stale_uploads() == 0


def test_a_sink_that_fails_leaves_neither_object_nor_upload(s3: S3Client, bucket: Bucket) -> None:
    def write_and_fail(sink: Any) -> None:
        sink.write(b"x" * 20_000_000)
        raise RuntimeError("the disk of somebody else")

    with pytest.raises(RuntimeError), ObjectSink(s3, bucket.name, "sink") as sink:
        write_and_fail(sink)
    assert bucket.listing("sink") == []
    assert bucket.stale_uploads() == 0
