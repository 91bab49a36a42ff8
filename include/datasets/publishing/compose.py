"""Put byte ranges one after the other into a new object, on the server wherever S3 allows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.datasets.multipart import S3_LIMITS, MultipartUpload, PartLimits

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NEAR = 64 << 10
"""Bytes between two ranges that are read with them, which is faster than another request."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end` (exclusive) of an object."""

    key: str
    start: int
    end: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


Part = tuple[ByteRange, ...]


def plan_parts(ranges: Iterable[ByteRange], limits: PartLimits) -> list[Part]:
    """Cut ranges of objects into the parts of a multipart upload.

    A part of one range is copied on the server; one of several ranges has to be read and joined, which is kept to
    `limits.smallest` bytes at each seam. Every part but the last has at least so many, none over `limits.largest`.
    Their number is what it is: `compose` joins parts where it is over `limits.count`.
    """
    parts: list[Part] = []
    seam: list[ByteRange] = []
    missing = 0
    for piece in merge(ranges):
        rest = piece
        if seam:
            head = min(piece.size, missing)
            seam.append(replace(piece, end=piece.start + head))
            missing -= head
            if missing:
                continue
            parts.append(tuple(seam))
            seam = []
            rest = replace(piece, start=piece.start + head)
        if rest.size >= limits.smallest:
            parts += _copies(rest, limits.largest)
        elif rest.size:
            seam, missing = [rest], limits.smallest - rest.size
    return [*parts, tuple(seam)] if seam else parts


def merge(ranges: Iterable[ByteRange]) -> Iterator[ByteRange]:
    """Join ranges that follow on each other in the same object, and leave out empty ones."""
    last: ByteRange | None = None
    for piece in ranges:
        if last is not None and (piece.key, piece.start) == (last.key, last.end):
            last = replace(last, end=piece.end)
        elif piece.size:
            if last is not None:
                yield last
            last = piece
    if last is not None:
        yield last


def compose(
    s3: S3Client, bucket: str, key: str, ranges: Sequence[ByteRange], *, scratch: str, limits: PartLimits = S3_LIMITS
) -> int:
    """Write the concatenation of `ranges` to `key` and return its size; on failure no upload is left behind.

    More parts than an upload may have are joined first, to objects whose keys begin with `scratch`; they are the
    caller's to remove. Raises DatasetError for more bytes than S3 puts into an object.
    """
    if sum(piece.size for piece in ranges) > limits.largest * limits.count:
        raise DatasetError(f"s3://{bucket}/{key} would have more bytes than S3 puts into an object: split the dataset")
    parts = plan_parts(ranges, limits)
    while len(parts) > limits.count:
        joined: list[ByteRange] = []
        for start in range(0, len(parts), limits.count):
            name = f"{scratch}{len(parts)}-{start}"
            joined.append(ByteRange(name, 0, _write(s3, bucket, name, parts[start : start + limits.count], limits)))
        parts = plan_parts(joined, limits)
    return _write(s3, bucket, key, parts, limits) if parts else 0


def _write(s3: S3Client, bucket: str, key: str, parts: Sequence[Part], limits: PartLimits) -> int:
    size = sum(piece.size for part in parts for piece in part)
    if size <= limits.smallest:
        s3.put_object(Bucket=bucket, Key=key, Body=b"".join(_read(s3, bucket, part) for part in parts))
        return size
    with MultipartUpload(s3, bucket, key) as upload:
        for part in parts:
            if len(part) == 1:
                upload.copy(part[0].key, part[0].start, part[0].end)
            else:
                upload.upload(lambda part=part: _read(s3, bucket, part))  # type: ignore[misc]
    return size


def _copies(piece: ByteRange, largest: int) -> list[Part]:
    count = -(-piece.size // largest)
    edges = [piece.start + piece.size * number // count for number in range(count + 1)]
    return [(ByteRange(piece.key, low, high),) for low, high in pairwise(edges)]


def _read(s3: S3Client, bucket: str, part: Part) -> bytes:
    return b"".join(_read_together(s3, bucket, neighbours) for neighbours in _neighbours(part))


def _neighbours(part: Part) -> Iterator[list[ByteRange]]:
    together = [part[0]]
    for piece in part[1:]:
        if piece.key == together[-1].key and 0 <= piece.start - together[-1].end <= NEAR:
            together.append(piece)
        else:
            yield together
            together = [piece]
    yield together


def _read_together(s3: S3Client, bucket: str, pieces: Sequence[ByteRange]) -> bytes:
    start, end = pieces[0].start, pieces[-1].end
    answer = s3.get_object(Bucket=bucket, Key=pieces[0].key, Range=f"bytes={start}-{end - 1}")
    whole = memoryview(answer["Body"].read())
    return b"".join(whole[piece.start - start : piece.end - start] for piece in pieces)
