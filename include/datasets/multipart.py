"""One large object in S3, made of parts: of bytes as they come, or of ranges of other objects, copied on the server.

An upload is completed, or aborted: no failure leaves one behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

from include.datasets.errors import DatasetError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

SINK_PART = 16 << 20
PARTS_AT_ONCE = 4
NEAR = 64 << 10
"""Bytes between two ranges that are read with them, which is faster than another request."""


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Bytes of a part, of which the last one may be smaller, and parts of an object."""

    smallest: int
    largest: int
    count: int


S3_LIMITS = PartLimits(smallest=5 << 20, largest=1 << 30, count=10_000)
"""S3 takes parts up to 5 GiB (user guide, multipart upload limits); copying that much outlasts a request's timeout."""


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


class ObjectSink:
    """A binary sink that becomes an S3 object: one PUT while it is small, a multipart upload beyond `SINK_PART`."""

    def __init__(self, s3: S3Client, bucket: str, key: str, *, content_type: str = "") -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._content_type = content_type
        self._buffer = bytearray()
        self._upload: MultipartUpload | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes, /) -> int:
        """Take the next bytes; waits while the parts before them are still on their way."""
        self._buffer += data
        if len(self._buffer) >= SINK_PART:
            if self._upload is None:
                upload = MultipartUpload(self._s3, self._bucket, self._key, content_type=self._content_type)
                self._upload = upload.__enter__()
            self._send_part(self._upload)
        return len(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._upload is not None:
            try:
                if error is None and self._buffer:
                    self._send_part(self._upload)
            except BaseException as failure:
                self._upload.__exit__(type(failure), failure, failure.__traceback__)
                raise
            self._upload.__exit__(kind, error, trace)
        elif error is None:
            named = content_type_of(self._content_type)
            self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=bytes(self._buffer), **named)

    def _send_part(self, upload: MultipartUpload) -> None:
        part = bytes(self._buffer)
        self._buffer.clear()
        upload.upload(lambda: part)


class MultipartUpload:
    """Uploads and copies parts in a few threads; the object appears when the `with` block ends without an error."""

    def __init__(self, s3: S3Client, bucket: str, key: str, *, content_type: str = "") -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._content_type = content_type
        self._upload_id = ""
        self._parts: list[Future[CompletedPartTypeDef]] = []
        self._pool = ThreadPoolExecutor(PARTS_AT_ONCE)
        self._slots = BoundedSemaphore(PARTS_AT_ONCE)

    def __enter__(self) -> Self:
        kind = content_type_of(self._content_type)
        self._upload_id = self._s3.create_multipart_upload(Bucket=self._bucket, Key=self._key, **kind)["UploadId"]
        return self

    def upload(self, read: Callable[[], bytes]) -> None:
        """Add the bytes that `read` returns, in a thread, as the next part; waits while all threads are busy."""
        self._add(lambda number: self._upload_part(number, read()))

    def copy(self, source_key: str, start: int, end: int) -> None:
        """Add bytes `start` to `end` (exclusive) of an object in the same bucket as the next part."""
        self._add(lambda number: self._copy_part(number, source_key, start, end))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                parts = [part.result() for part in self._parts]
                self._s3.complete_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, MultipartUpload={"Parts": parts}
                )
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            if error is not None:
                self._s3.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)

    def _add(self, send: Callable[[int], CompletedPartTypeDef]) -> None:
        self._raise_failure()
        self._slots.acquire()
        part = self._pool.submit(send, len(self._parts) + 1)
        part.add_done_callback(lambda _: self._slots.release())
        self._parts.append(part)

    def _raise_failure(self) -> None:
        for part in self._parts:
            if part.done():
                part.result()

    def _upload_part(self, number: int, data: bytes) -> CompletedPartTypeDef:
        answer = self._s3.upload_part(
            Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=data
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _copy_part(self, number: int, source_key: str, start: int, end: int) -> CompletedPartTypeDef:
        answer = self._s3.upload_part_copy(
            Bucket=self._bucket,
            Key=self._key,
            UploadId=self._upload_id,
            PartNumber=number,
            CopySource={"Bucket": self._bucket, "Key": source_key},
            CopySourceRange=f"bytes={start}-{end - 1}",
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}


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


def plan_parts(ranges: Iterable[ByteRange], limits: PartLimits) -> list[Part]:
    """Cut ranges of objects into the parts of a multipart upload.

    A part of one range is copied on the server; one of several ranges has to be read and joined, which is kept to
    `limits.smallest` bytes at each seam. Every part but the last has at least so many, none over `limits.largest`.
    Their number is what it is: `compose` joins parts if it is over `limits.count`.
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


class ContentType(TypedDict, total=False):
    """The argument of a call that gives an object its content type; S3 has one of its own if none is given."""

    ContentType: str


def content_type_of(name: str) -> ContentType:
    """The content type as a call's argument, none if it is empty."""
    return {"ContentType": name} if name else {}
