"""Read whole source objects into memory, many at once, each exactly as it was listed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from obstore.exceptions import (
    GenericError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from include.datasets.errors import DatasetError
from include.datasets.manifest import CHANGED, MISSING, ManifestRow
from include.datasets.object_store import is_plain_key, open_store
from include.recordio.images import ImageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore.store import S3Store

ODD_KEY_THREADS = 8
BODY_TRIES = 3


class _BrokenBodyError(Exception):
    """A body that broke off while it was read: both clients retry requests at length, but not always this."""


class ObjectFetcher:
    """GETs source objects with the endpoint, region and credentials of a boto3 client.

    obstore reads them, about seven times faster than boto3 in threads; it refuses a few keys that are legal in S3
    (control characters, empty segments, ``.`` and ``..``), and those go through boto3.
    """

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3
        self._stores: dict[str, S3Store] = {}
        self._threads = ThreadPoolExecutor(ODD_KEY_THREADS)

    def close(self) -> None:
        """Let the threads for odd keys go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, image: ManifestRow) -> bytes:
        """Return the object's bytes if it still has the listed ETag.

        Raises ImageError with the status ``missing`` or ``changed``, DatasetError where access is denied, and OSError
        where the body keeps arriving shorter than listed.
        """
        for _ in range(BODY_TRIES):
            try:
                data = await self._get(image)
            except _BrokenBodyError as error:
                broken = f"breaks off ({error})"
                continue
            if len(data) == image.size:
                return data
            broken = f"arrives with {len(data)}"
        raise OSError(
            f"{image.uri} was listed with {image.size} bytes but {broken}, {BODY_TRIES} times: try again later"
        )

    async def _get(self, image: ManifestRow) -> bytes:
        if not is_plain_key(image.key):
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._get_odd, image)
        try:
            answer = await self._store(image.bucket).get_async(image.key, options={"if_match": f'"{image.etag}"'})
        except (NotFoundError, FileNotFoundError):
            raise _missing() from None
        except PreconditionError:
            raise _changed() from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise _denied(image, error) from error
        try:
            return bytes(await answer.bytes_async())
        except GenericError as error:
            raise _BrokenBodyError(str(error).splitlines()[0]) from error

    def _get_odd(self, image: ManifestRow) -> bytes:
        try:
            body = self._s3.get_object(Bucket=image.bucket, Key=image.key, IfMatch=f'"{image.etag}"')["Body"]
        except ClientError as error:
            code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code == 404:
                raise _missing() from None
            if code == 412:
                raise _changed() from None
            if code in (401, 403):
                raise _denied(image, error) from error
            raise
        try:
            return body.read()
        except (ResponseStreamingError, IncompleteReadError, ReadTimeoutError) as error:
            raise _BrokenBodyError(str(error)) from error

    def _store(self, bucket: str) -> S3Store:
        if bucket not in self._stores:
            self._stores[bucket] = open_store(self._s3, bucket)
        return self._stores[bucket]


def _missing() -> ImageError:
    return ImageError(MISSING, "the object was deleted after it was listed")


def _changed() -> ImageError:
    return ImageError(CHANGED, "the object was replaced after it was listed; the next version takes the new one")


def _denied(image: ManifestRow, error: Exception) -> DatasetError:
    return DatasetError(
        f"{image.uri} may not be read ({error}): give the role s3:GetObject on the bucket of dataset.source, "
        "and kms:Decrypt where its objects are encrypted with a key of their own"
    )
