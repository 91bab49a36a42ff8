"""Put objects one after the other into a new object, on the server wherever S3 allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from include.datasets.multipart import LARGEST_PART, SMALLEST_PART, MultipartUpload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the bucket and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` to ``end`` (exclusive) of an object."""

    key: str
    start: int
    end: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


Part = tuple[ByteRange, ...]


def plan_parts(
    pieces: Sequence[StoredObject], *, smallest: int = SMALLEST_PART, largest: int = LARGEST_PART
) -> list[Part]:
    """Cut objects into the parts of a multipart upload.

    A part of one range is copied on the server; one of several ranges has to be read and joined, which is kept to
    ``smallest`` bytes at each seam. Every part but the last has at least ``smallest`` bytes, none over ``largest``.
    """
    parts: list[Part] = []
    seam: list[ByteRange] = []
    for piece in pieces:
        start = 0
        if seam:
            start = min(piece.size, smallest - sum(piece_range.size for piece_range in seam))
            seam.append(ByteRange(piece.key, 0, start))
            if sum(piece_range.size for piece_range in seam) < smallest:
                continue
            parts.append(tuple(seam))
            seam = []
        if piece.size - start >= smallest:
            parts += _copies(piece, start, largest)
        elif piece.size > start:
            seam = [ByteRange(piece.key, start, piece.size)]
    return [*parts, tuple(seam)] if seam else parts


def compose(s3: S3Client, bucket: str, key: str, pieces: Sequence[StoredObject]) -> int:
    """Write the concatenation of ``pieces`` to ``key`` and return its size; on failure nothing is left behind."""
    parts = plan_parts(pieces)
    if len(parts) == 1 and sum(piece_range.size for piece_range in parts[0]) <= SMALLEST_PART:
        s3.put_object(Bucket=bucket, Key=key, Body=_read(s3, bucket, parts[0]))
    elif parts:
        with MultipartUpload(s3, bucket, key) as upload:
            for part in parts:
                if len(part) == 1 and part[0].size >= SMALLEST_PART:
                    upload.copy(part[0].key, part[0].start, part[0].end)
                else:
                    upload.upload(lambda part=part: _read(s3, bucket, part))  # type: ignore[misc]
    return sum(piece.size for piece in pieces)


def _copies(piece: StoredObject, start: int, largest: int) -> list[Part]:
    length = piece.size - start
    count = -(-length // largest)
    edges = [start + length * number // count for number in range(count + 1)]
    return [(ByteRange(piece.key, low, high),) for low, high in pairwise(edges)]


def _read(s3: S3Client, bucket: str, part: Part) -> bytes:
    return b"".join(
        s3.get_object(Bucket=bucket, Key=piece.key, Range=f"bytes={piece.start}-{piece.end - 1}")["Body"].read()
        for piece in part
    )
