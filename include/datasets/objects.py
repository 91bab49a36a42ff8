"""Writing to S3: many whole objects at once, and one large object made of parts.

Whole objects are written in bounded memory, and only those that are not there already. A large object is made of bytes
as they come, or of ranges of other objects, copied on the server: its upload is completed, or aborted, so that no
failure leaves one behind.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import BoundedSemaphore, Condition
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict

import obstore
from botocore.exceptions import ClientError
from obstore.exceptions import NotFoundError
from obstore.store import S3Store

from include.datasets.errors import LIST, WRITE, DatasetError, explained

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

log = logging.getLogger(__name__)

CREDENTIALS_LAST = timedelta(minutes=5)
"""After this obstore asks the client again, which renews what has expired."""
LONGEST_REQUEST = timedelta(minutes=15)
"""Of one request with its body; a server that stalls is given up after the client's `read_timeout`."""
THREADS = 32
BYTES_IN_FLIGHT = 64 << 20
"""Bytes that wait to be written; a larger object goes alone."""
MD5 = "md5"
"""Metadata of every object written: where a KMS key encrypts them, the ETag is not the MD5."""


class ContentType(TypedDict, total=False):
    """The argument of a call that gives an object its content type; S3 has one of its own if none is given."""

    ContentType: str


def content_type_of(name: str) -> ContentType:
    """The content type as a call's argument, none if it is empty."""
    return {"ContentType": name} if name else {}


class ObjectWriter:
    """PUTs objects in threads, each whole, so that its ETag is its MD5.

    Leaving the `with` block waits for all of them. `put` and the end of the block raise the first failure.
    """

    def __init__(self, s3: S3Client, stored: StoredObjects) -> None:
        self._s3 = s3
        self._stored = stored
        self._store = open_store(s3, stored.bucket)
        self._pool = ThreadPoolExecutor(THREADS)
        self._room = Condition()
        self._in_flight = 0
        self._failure: BaseException | None = None
        self._seen: set[int] = set()
        self._withdrawn = 0
        self.written = 0
        self.kept = 0
        """Objects that were there already, with the same bytes."""
        self.bytes = 0
        """Bytes of both."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            self._raise_failure()

    @property
    def count(self) -> int:
        """Objects put so far, without those on their way and those withdrawn."""
        return self.written + self.kept - self._withdrawn

    def has_seen(self, key: str) -> bool:
        """Whether the key was put before."""
        return _key_hash(key) in self._seen

    def put(self, key: str, data: bytes, *, content_type: str = "") -> None:
        """Write an object in the background; waits while too many bytes are on their way."""
        self._seen.add(_key_hash(key))
        with self._room:
            while self._in_flight and self._in_flight + len(data) > BYTES_IN_FLIGHT and self._failure is None:
                self._room.wait()
            self._raise_failure()
            self._in_flight += len(data) + 1024  # small objects count too
        self._pool.submit(self._put, key, data, content_type)

    def withdraw(self, key: str) -> None:
        """Take an object back that should not have been written: `remove_others` deletes it."""
        self._seen.discard(_key_hash(key))
        self._withdrawn += 1

    def remove_others(self) -> int:
        """Delete what lies under the prefix and was not put; call it when all is written."""
        if not len(self._stored) and not self._withdrawn:
            return 0
        gone = [key for key, _ in self._stored.entries() if _key_hash(key) not in self._seen]
        plain = [key for key in gone if is_plain_key(key)]
        for start in range(0, len(plain), 1000):
            objects = [{"Key": key} for key in plain[start : start + 1000]]
            answer = self._s3.delete_objects(Bucket=self._stored.bucket, Delete={"Objects": objects, "Quiet": True})  # type: ignore[typeddict-item]
            for failed in answer.get("Errors", []):
                raise DatasetError(
                    f"s3://{self._stored.bucket}/{failed.get('Key')} cannot be deleted ({failed.get('Code')}): "
                    f"give the role s3:DeleteObject on s3://{self._stored.bucket}/unpacked/"
                )
        for key in set(gone) - set(plain):  # XML, in which many are named at once, has no control characters
            self._s3.delete_object(Bucket=self._stored.bucket, Key=key)
        return len(gone)

    def _put(self, key: str, data: bytes, content_type: str) -> None:
        try:
            if self._failure is None:
                self._put_if_other(key, data, content_type)
        except Exception as error:  # noqa: BLE001  (raised in the thread that puts)
            with self._room:
                self._failure = self._failure or error
        finally:
            with self._room:
                self._in_flight -= len(data) + 1024
                self._room.notify_all()

    def _put_if_other(self, key: str, data: bytes, content_type: str) -> None:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        holds = self._stored.holds(key, md5)
        if not holds:
            bucket = self._stored.bucket
            put_object(self._s3, self._store, key, data, md5=md5, bucket=bucket, content_type=content_type)
        with self._room:
            self.kept += holds
            self.written += not holds
            self.bytes += len(data)

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is None:
            return
        told = unwritable(self._stored.bucket, self._stored.prefix, failure)
        if told is failure:
            raise failure
        raise told from failure


class StoredObjects:
    """The ETags of the objects under a prefix, about 150 bytes for each."""

    def __init__(self, s3: S3Client, bucket: str, prefix: str) -> None:
        self._s3 = s3
        self.bucket = bucket
        self.prefix = prefix
        self._etags: dict[int, str] = {}

    def list_all(self) -> Self:
        """Read the listing. Raises DatasetError if there is no such bucket, or it may not be listed."""
        try:
            self._etags = {_key_hash(key): etag for key, etag in self.entries()}
        except ClientError as error:
            refusal = explained(error, f"s3://{self.bucket}/{self.prefix}", LIST)
            if refusal is None:
                raise
            raise DatasetError(f"s3://{self.bucket}/{self.prefix} {refusal}") from error
        return self

    def __len__(self) -> int:
        return len(self._etags)

    def entries(self) -> Iterator[tuple[str, str]]:
        """Key and ETag of each object as it is listed now."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix):
            for listed in page.get("Contents", []):
                yield listed["Key"], listed["ETag"].strip('"')

    def etag(self, key: str) -> str | None:
        """The object's ETag as it was listed, None if there was none."""
        return self._etags.get(_key_hash(key))

    def holds(self, key: str, md5: str) -> bool:
        """Whether the listed object has this content: by its ETag, or by the MD5 it was written with."""
        etag = self.etag(key)
        if etag is None or etag == md5:
            return etag == md5
        try:
            head = self._s3.head_object(Bucket=self.bucket, Key=key) if self._may_hide_content(etag) else None
        except ClientError:
            return False
        return head is not None and head["Metadata"].get(MD5) == md5

    _encrypted: bool | None = None

    def _may_hide_content(self, etag: str) -> bool:
        # In a bucket without such a key an ETag distinguishes content, and a HEAD would cost money for nothing.
        if self._encrypted is None:
            first = next(self.entries(), None)
            head = self._s3.head_object(Bucket=self.bucket, Key=first[0]) if first else None
            self._encrypted = head is not None and head.get("ServerSideEncryption", "").startswith("aws:kms")
        return self._encrypted or "-" in etag


def unwritable(bucket: str, prefix: str, error: BaseException) -> BaseException:
    """Say why nothing can be written under a prefix."""
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    if isinstance(error, NotFoundError) or code == "NoSuchBucket":
        return DatasetError(f"s3://{bucket}/{prefix}: there is no bucket {bucket}; create it, or name another")
    refusal = explained(error, f"s3://{bucket}/{prefix}", WRITE)
    return DatasetError(f"s3://{bucket}/{prefix} {refusal}") if refusal else error


def put_object(
    s3: S3Client, store: S3Store, key: str, data: bytes, *, md5: str, bucket: str, content_type: str = ""
) -> None:
    """Write one object whole, its MD5 beside it."""
    if is_plain_key(key):
        named = {"Content-Type": content_type} if content_type else {}
        obstore.put(store, key, data, use_multipart=False, attributes={MD5: md5, **named})
    else:
        kind = content_type_of(content_type)
        s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={MD5: md5}, **kind)


def open_store(s3: S3Client, bucket: str) -> S3Store:
    """Open a bucket for many requests at once, several times faster than boto3 in threads.

    Endpoint, region, credentials, timeouts, and retries where their number was given, are those of the client.
    """

    def credentials() -> Any:
        # The client has no public name for the credentials it signs with; obstore's own provider wants a session, which
        # a client does not give back and of which it may not have taken its credentials.
        frozen = s3._request_signer._credentials.get_frozen_credentials()  # type: ignore[attr-defined]
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + CREDENTIALS_LAST,
        }

    endpoint = s3.meta.endpoint_url
    config: Any = s3.meta.config  # its stubs name no option
    # boto3's own default is too few for a bucket that asks to slow down: only a number that was asked for is taken.
    retries = (config.retries or {}).get("total_max_attempts")
    return S3Store(
        bucket,
        region=s3.meta.region_name,
        # Named in full: obstore also reads AWS_* variables, and the client's word must stand above them.
        aws_endpoint_url_s3=endpoint,
        skip_signature=False,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=config.connect_timeout),
            "read_timeout": timedelta(seconds=config.read_timeout),
            "timeout": LONGEST_REQUEST,
        },
        retry_config={"max_retries": retries - 1} if retries else {},
        credential_provider=credentials,
    )


def is_plain_key(key: str) -> bool:
    """Whether obstore takes a key as it is: no control characters, no empty, `.` or `..` segments."""
    if any(unicodedata.category(character) == "Cc" for character in key):
        return False
    return all(segment not in ("", ".", "..") for segment in key.split("/"))


def _key_hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


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
            size = _write_parts(s3, bucket, name, parts[start : start + limits.count], limits)
            joined.append(ByteRange(name, 0, size))
        parts = plan_parts(joined, limits)
    return _write_parts(s3, bucket, key, parts, limits) if parts else 0


def _write_parts(s3: S3Client, bucket: str, key: str, parts: Sequence[Part], limits: PartLimits) -> int:
    size = sum(piece.size for part in parts for piece in part)
    if size <= limits.smallest:
        s3.put_object(Bucket=bucket, Key=key, Body=b"".join(_read_part(s3, bucket, part) for part in parts))
        return size
    with MultipartUpload(s3, bucket, key) as upload:
        for part in parts:
            if len(part) == 1:
                upload.copy(part[0].key, part[0].start, part[0].end)
            else:
                upload.upload(lambda part=part: _read_part(s3, bucket, part))  # type: ignore[misc]
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


def _read_part(s3: S3Client, bucket: str, part: Part) -> bytes:
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
