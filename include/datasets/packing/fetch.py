"""Read whole source objects into memory, each exactly as it was listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from obstore.exceptions import (
    GenericError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from include.datasets.errors import DatasetError, explained
from include.datasets.manifest import CHANGED, MISSING, ManifestRow
from include.datasets.objects import is_plain_key, open_store
from include.recordio.images import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client
    from obstore import Bytes
    from obstore.store import S3Store

BODY_TRIES = 3


class _BrokenBodyError(Exception):
    """A body that broke off while it was read: both clients retry requests at length, but not always this."""


class ObjectFetcher:
    """GETs source objects with the endpoint, region, credentials, timeouts and retries of a boto3 client.

    obstore reads them, with a fifth of boto3's CPU and mostly outside the interpreter's lock; it refuses a few keys
    that are legal in S3 (control characters, empty segments, `.` and `..`), and those go through boto3. Safe to
    call from many threads.
    """

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3
        self._stores: dict[str, S3Store] = {}

    def fetch(self, image: ManifestRow) -> Bytes | bytes:
        """Return the object's bytes, as a buffer outside Python's memory where possible, if it has the listed ETag.

        Raises ImageError with the status `missing` or `changed`, DatasetError where access is denied, and OSError
        where the server goes on failing or the body keeps arriving shorter than listed.
        """
        get: Callable[[ManifestRow], Bytes | bytes] = self._get if is_plain_key(image.key) else self._get_odd
        for _ in range(BODY_TRIES):
            try:
                data = get(image)
            except _BrokenBodyError as error:
                broken = f"breaks off ({error})"
                continue
            if len(data) == image.size:
                return data
            broken = f"arrives with {len(data)}"
        raise OSError(
            f"{image.uri} was listed with {image.size} bytes but {broken}, {BODY_TRIES} times: try again later"
        )

    def _get(self, image: ManifestRow) -> Bytes:
        try:
            answer = self._store(image.bucket).get(image.key, options={"if_match": f'"{image.etag}"'})
        except (NotFoundError, FileNotFoundError):
            raise _missing() from None
        except PreconditionError:
            raise _changed() from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError, GenericError) as error:
            raise _failing(image, error) from error
        if (answer.meta["e_tag"] or image.etag).strip('"') != image.etag:
            raise _changed()
        try:
            return answer.bytes()
        except PreconditionError:  # replaced while obstore went on where the body had broken off
            raise _changed() from None
        except (GenericError, NotFoundError, FileNotFoundError) as error:
            raise _BrokenBodyError(_first_line(error)) from error

    def _get_odd(self, image: ManifestRow) -> bytes:
        try:
            body = self._s3.get_object(Bucket=image.bucket, Key=image.key, IfMatch=f'"{image.etag}"')["Body"]
        except ClientError as error:
            code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code == 404:
                raise _missing() from None
            if code == 412:
                raise _changed() from None
            raise _failing(image, error) from error
        except HTTPClientError as error:
            raise _failing(image, error) from error
        try:
            return body.read()
        except (ResponseStreamingError, IncompleteReadError, ReadTimeoutError) as error:
            raise _BrokenBodyError(_first_line(error)) from error

    def _store(self, bucket: str) -> S3Store:
        if bucket not in self._stores:
            self._stores[bucket] = open_store(self._s3, bucket)
        return self._stores[bucket]


def _missing() -> ImageError:
    return ImageError(MISSING, "the object was deleted after it was listed")


def _changed() -> ImageError:
    return ImageError(CHANGED, "the object was replaced after it was listed; the next version takes the new one")


def _failing(image: ManifestRow, error: Exception) -> Exception:
    refusal = explained(error, image.uri)
    if refusal is not None:
        return DatasetError(f"{image.uri} {refusal}")
    return OSError(f"{image.uri} cannot be read: {_first_line(error)}; clear the task when S3 answers again")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:400]
