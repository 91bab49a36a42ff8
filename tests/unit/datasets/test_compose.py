from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from include.datasets.compose import StoredObject, compose, plan_parts
from include.datasets.multipart import SMALLEST_PART, ObjectSink
from tests.unit.datasets.conftest import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@given(st.lists(st.integers(0, 60), max_size=12))
def test_parts_hold_every_byte_in_order_within_the_limits(sizes: list[int]) -> None:
    pieces = [StoredObject(str(number), size) for number, size in enumerate(sizes)]
    parts = plan_parts(pieces, smallest=5, largest=20)

    flat = [(piece.key, byte) for part in parts for piece in part for byte in range(piece.start, piece.end)]
    assert flat == [(piece.key, byte) for piece in pieces for byte in range(piece.size)]
    lengths = [sum(piece.size for piece in part) for part in parts]
    assert all(5 <= length <= 20 for length in lengths[:-1])
    assert all(0 < length <= 20 for length in lengths[-1:])
    assert all(sum(piece.size for piece in part) <= 5 for part in parts if len(part) > 1)


def pieces_of(bucket: Bucket, sizes: list[int]) -> tuple[list[StoredObject], bytes]:
    whole = b""
    pieces = []
    for number, size in enumerate(sizes):
        body = os.urandom(size)
        bucket.put(f"pieces/{number}", body)
        pieces.append(StoredObject(f"pieces/{number}", size))
        whole += body
    return pieces, whole


@pytest.mark.parametrize(
    "sizes", [[10], [10, 20, 30], [SMALLEST_PART], [SMALLEST_PART + 5, 10], [100, SMALLEST_PART + 7, 200, 300]]
)
def test_the_composed_object_is_the_concatenation(s3: S3Client, bucket: Bucket, sizes: list[int]) -> None:
    pieces, whole = pieces_of(bucket, sizes)
    assert compose(s3, bucket.name, "whole", pieces) == len(whole)
    assert bucket.get("whole") == whole
    assert bucket.stale_uploads() == 0


def test_a_failed_composition_leaves_no_upload_behind(s3: S3Client, bucket: Bucket) -> None:
    pieces, _ = pieces_of(bucket, [SMALLEST_PART + 1])
    with pytest.raises(ClientError):
        compose(s3, bucket.name, "whole", [*pieces, StoredObject("pieces/gone", SMALLEST_PART)])
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
