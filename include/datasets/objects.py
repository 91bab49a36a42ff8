"""Whole objects in S3, many at once: written in bounded memory, and only those that are not there already."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Condition
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import obstore
from botocore.exceptions import ClientError
from obstore.exceptions import NotFoundError
from obstore.store import S3Store

from include.datasets.errors import LIST, WRITE, DatasetError, explained
from include.datasets.multipart import content_type_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

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
