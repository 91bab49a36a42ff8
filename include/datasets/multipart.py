"""Multipart uploads that are completed, or aborted: never left behind by a failure."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef


@dataclass(frozen=True, slots=True)
class PartLimits:
    """Bytes of a part, of which the last one may be smaller, and parts of an object."""

    smallest: int
    largest: int
    count: int


S3_LIMITS = PartLimits(smallest=5 << 20, largest=1 << 30, count=10_000)
"""S3 takes parts up to 5 GiB (user guide, multipart upload limits); copying that much outlasts a request's timeout."""

SINK_PART = 16 << 20
PARTS_AT_ONCE = 4


class ContentType(TypedDict, total=False):
    """The argument of a call that gives an object its content type; S3 has one of its own where none is given."""

    ContentType: str


def content_type_of(name: str) -> ContentType:
    """The content type as a call's argument, none where it is empty."""
    return {"ContentType": name} if name else {}


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
