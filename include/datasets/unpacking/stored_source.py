"""An object in S3 as an address whose content can be read from any byte on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.s3_faults import STORAGE_CLASSES, archived, explained
from include.datasets.unpacked import Fingerprint
from include.datasets.unpacking.byte_stream import BrokenOffError, changed

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

BROKEN = (HTTPClientError, IncompleteReadError, ResponseStreamingError, FlexibleChecksumError)


class StoredSource:
    """An S3 object, read on condition of its ETag."""

    def __init__(self, s3: S3Client, address: str) -> None:
        self._s3 = s3
        self.shown = address
        self._bucket, self._key = parse_s3_uri(address)

    def look(self) -> Fingerprint:
        """Ask for the object's ETag and size. Raises DatasetError where it cannot be read."""
        try:
            answer = self._s3.head_object(Bucket=self._bucket, Key=self._key)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(self._said(error), 0) from error
        storage_class = answer.get("ArchiveStatus") or answer.get("StorageClass") or ""
        if storage_class in STORAGE_CLASSES and 'ongoing-request="false"' not in answer.get("Restore", ""):
            raise DatasetError(f"dataset.source = {self.shown}: {archived(self.shown, storage_class)}")
        return Fingerprint(etag=answer["ETag"], size=answer["ContentLength"])

    def open(self, start: int, expected: Fingerprint | None) -> _ObjectBody:
        """GET the object from ``start`` on. Raises BrokenOffError and DatasetError."""
        conditions: dict[str, Any] = {"Range": f"bytes={start}-"} if start else {}
        if expected is not None:
            conditions["IfMatch"] = expected.etag
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, **conditions)
        except (ClientError, BotoCoreError) as error:
            raise self._explained(error, start) from error
        size = start + answer["ContentLength"]
        return _ObjectBody(answer["Body"], start, Fingerprint(etag=answer["ETag"], size=size))

    def _said(self, error: ClientError | BotoCoreError) -> ClientError | BotoCoreError:
        """The same refusal with its reason: an answer to a HEAD has no body, and so no code."""
        if not isinstance(error, ClientError):
            return error
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (400, 401, 403):
            return error
        try:
            self._s3.get_object(Bucket=self._bucket, Key=self._key, Range="bytes=0-0")["Body"].close()
        except (ClientError, BotoCoreError) as said:
            return said
        return error

    def _explained(self, error: ClientError | BotoCoreError, start: int) -> Exception:
        source = f"dataset.source = {self.shown}"
        if isinstance(error, BROKEN):
            return BrokenOffError(f"S3 does not answer ({error})")
        if not isinstance(error, ClientError):
            return DatasetError(f"{source}: {explained(error, self.shown) or error}")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (412, 416):
            return changed(self.shown, start)
        if status in (429, 500, 502, 503, 504):
            return BrokenOffError(f"S3 answers {status}")
        if status == 404:
            return DatasetError(f"{source}: there is no such object: correct the address, or upload it")
        return DatasetError(f"{source}: {explained(error, self.shown) or f'S3 answers {error}'}")


class _ObjectBody:
    def __init__(self, body: StreamingBody, start: int, fingerprint: Fingerprint) -> None:
        self._body = body
        self.start = start
        self.fingerprint = fingerprint

    def read(self, amount: int, /) -> bytes:
        try:
            return self._body.read(amount)
        except BROKEN as error:
            raise BrokenOffError(f"the body breaks off ({error})") from error

    def close(self) -> None:
        self._body.close()
