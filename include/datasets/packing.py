"""Pack one shard: S3 -> memory -> packed shard -> S3, with a report of its progress now and then.

Images are fetched and packed many at once, in the order they were planned, in bounded memory. Each object is read whole
and exactly as it was listed. An image that is missing, changed or cannot be packed becomes a bad one here: it is handed
over as its manifest row, with its status and reason.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
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
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError, explained
from include.datasets.labels import class_indices, label_vector
from include.datasets.layout import Split
from include.datasets.manifest import ManifestRow, read_manifest, to_rows, to_table, write_manifest
from include.datasets.objects import ObjectSink, is_plain_key, open_store
from include.datasets.source_image import Status
from include.datasets.version import ShardTask, VersionPlan
from include.recordio.format import MAX_LENGTH, BinarySink, RecordWriter, encode_image_record
from include.recordio.images import (
    ImageError,
    PackedImage,
    accept_image,
    pack_image,
    readable_size,
    remarks,
)
from include.recordio.options import DecodingMemory, ImageOptions, keep_freed_memory, working_bytes

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from obstore import Bytes
    from obstore.store import S3Store

log = logging.getLogger(__name__)

REPORT_SECONDS = 10.0


class ShardResult(BaseModel):
    """What a packed shard holds; its rows lie in its part of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: Split
    fingerprint: str
    records: int
    bytes: int
    """Size of the shard's `.rec`."""
    bad: dict[str, int]
    """Images that were not packed, by status."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is: images done (bad ones too), images in all, and the pace so far."""

    shard: int
    split: str
    done: int
    total: int
    bad: int
    images_per_second: float
    megabytes_per_second: float
    """Source bytes, in millions."""
    eta_seconds: float
    """How long the rest takes at this pace."""

    def __str__(self) -> str:
        return (
            f"Shard {self.shard} ({self.split}): {self.done} of {self.total} images, {self.bad} of them bad, "
            f"{self.images_per_second:.0f} images/s, {self.megabytes_per_second:.1f} MB/s, "
            f"{self.eta_seconds:.0f} s to go"
        )


Report = Callable[[ShardProgress], None]


def log_progress(progress: ShardProgress) -> None:
    """Report to the log."""
    log.info("%s", progress)


def pack_shard(s3: S3Client, plan: VersionPlan, shard: ShardTask, *, report: Report = log_progress) -> ShardResult:
    """Pack a planned shard, or return the result of the same shard packed before.

    Images are read and packed by several threads and written in the plan's order; memory holds a bounded number of
    bytes, disk none. Bad images become rows with their status and reason. `report` is called about every
    ten seconds and at the end. Raises DatasetError if the plan is gone or the source may not be read, OSError if
    the source keeps failing.
    """
    finished = _finished_result(s3, plan, shard)
    if finished is not None:
        log.info("Shard %s was packed before: %s records are reused", shard.index, finished.records)
        return finished
    rows = _planned_rows(s3, plan, shard)
    started = time.monotonic()
    progress = ProgressMeter(shard, report)
    with ObjectSink(s3, plan.bucket, plan.layout.packed_shard(shard.index)) as sink:
        done, size = _pack_rows(s3, plan, rows, sink, progress)
    write_manifest(s3, plan.bucket, plan.layout.shard_manifest(shard.index), to_table(done))
    statuses = Counter(row.status.value for row in done)
    result = ShardResult(
        index=shard.index,
        split=shard.split,
        fingerprint=shard.fingerprint,
        records=statuses.pop(Status.PACKED, 0),
        bytes=size,
        bad=dict(statuses),
        seconds=round(time.monotonic() - started, 3),
    )
    document = result.model_dump_json().encode()
    s3.put_object(Bucket=plan.bucket, Key=plan.layout.shard_result(shard.index), Body=document)
    progress.tell()
    return result


def _finished_result(s3: S3Client, plan: VersionPlan, shard: ShardTask) -> ShardResult | None:
    try:
        answer = s3.get_object(Bucket=plan.bucket, Key=plan.layout.shard_result(shard.index))
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    result = ShardResult.model_validate_json(answer["Body"].read())
    return result if result.fingerprint == shard.fingerprint else None


def _planned_rows(s3: S3Client, plan: VersionPlan, shard: ShardTask) -> list[ManifestRow]:
    try:
        return to_rows(read_manifest(s3, plan.bucket, plan.layout.planned_shard(shard.index)))
    except s3.exceptions.NoSuchKey:
        raise DatasetError(
            f"the plan of shard {shard.index} of {plan.layout.uri} was deleted, as after publishing: "
            "clear the planning task, which finds the published version or plans it again"
        ) from None


def _pack_rows(
    s3: S3Client, plan: VersionPlan, rows: Sequence[ManifestRow], sink: BinarySink, progress: ProgressMeter
) -> tuple[list[ManifestRow], int]:
    writer = RecordWriter(sink)
    indices = class_indices(plan.labels)
    done: list[ManifestRow] = []
    label_width = len(plan.labels) if plan.multi_label else 1
    with closing(pack_images(s3, rows, plan.packing, labels=label_width)) as images:
        for packed in images:
            row = packed.row
            if packed.image is None:
                done.append(row)
            else:
                record_id = cast(int, row.record_id)  # every planned row has one
                vector = label_vector(row.labels, indices, multi_label=plan.multi_label, origin=row.uri)
                offset = writer.write(record_id, encode_image_record(vector, record_id, packed.image))
                done.append(replace(row, offset=offset))
            progress.step(row.size, bad=packed.image is None)
    return done, writer.offset


class ProgressMeter:
    """Counts a shard's images and reports about every ten seconds, and whenever it is asked to."""

    def __init__(self, shard: ShardTask, report: Report) -> None:
        self._shard = shard
        self._report = report
        self._started = self._told = time.monotonic()
        self._done = 0
        self._bad = 0
        self._bytes = 0

    def step(self, source_bytes: int, *, bad: bool) -> None:
        """Count one image."""
        self._done += 1
        self._bad += bad
        self._bytes += source_bytes
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Report now."""
        self._told = time.monotonic()
        seconds = max(self._told - self._started, 1e-6)
        left = self._shard.images - self._done
        self._report(
            ShardProgress(
                shard=self._shard.index,
                split=self._shard.split,
                done=self._done,
                total=self._shard.images,
                bad=self._bad,
                images_per_second=self._done / seconds,
                megabytes_per_second=self._bytes / seconds / 1e6,
                eta_seconds=left * seconds / max(self._done, 1),
            )
        )


BYTES_IN_FLIGHT = 24 << 20
"""Source and packed bytes between a GET and the shard; an image larger than this travels alone."""
IMAGES_IN_FLIGHT = 256
LARGEST_REUSED = 4 << 20
"""Bytes of a block that is kept for the next image: a photograph of a megapixel fits, one of twelve is given back."""
GETS_AT_ONCE = 32
BODY_TRIES = 3
HEADER_BYTES = 24
BYTES_OF_LABEL = 4


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A row of the manifest as it has become, and its image; None if that could not be packed."""

    row: ManifestRow
    image: bytes | None


def pack_images(
    s3: S3Client, rows: Sequence[ManifestRow], options: ImageOptions, *, labels: int = 1
) -> Generator[PackedRow, None, None]:
    """Fetch and pack images, and hand them over in the order of the rows.

    `labels` is how many each record holds beside its image. What cannot be packed comes with its status and reason.
    Raises what `ObjectFetcher.fetch` raises; close the iterator to stop before its end.
    """
    cv2.setNumThreads(1)  # the images of a shard are the parallel work, not the rows of one image
    keep_freed_memory(largest=LARGEST_REUSED, kept=2 * LARGEST_REUSED)
    fetcher = ObjectFetcher(s3)
    packer = _Packer(options, MAX_LENGTH - HEADER_BYTES - BYTES_OF_LABEL * labels)
    flight = _Flight()
    with ThreadPoolExecutor(GETS_AT_ONCE) as gets, ThreadPoolExecutor(os.cpu_count() or 1) as codec:

        def fetch(row: ManifestRow) -> Future[PackedRow]:
            _check_size(row)
            return codec.submit(packer.pack, row, fetcher.fetch(row))

        try:
            for row in rows:
                while not flight.has_room(row.size):
                    yield flight.land()
                flight.start(row, gets.submit(fetch, row))
            while flight.images:
                yield flight.land()
        finally:
            gets.shutdown(wait=False, cancel_futures=True)


def _check_size(row: ManifestRow) -> None:
    if row.size > MAX_LENGTH:
        raise ImageError(Status.TOO_LARGE, f"it has {row.size} bytes, an image may have {MAX_LENGTH}")


class _Flight:
    """Images on their way, the oldest first, and the bytes they hold or are about to."""

    def __init__(self) -> None:
        self.images: deque[tuple[ManifestRow, int, Future[Future[PackedRow]]]] = deque()
        self._held = 0
        self._source_bytes = self._packed_bytes = 1

    def has_room(self, size: int) -> bool:
        """Whether an image of this many bytes may start."""
        if not self.images:
            return True
        return len(self.images) < IMAGES_IN_FLIGHT and self._held + self._share(size) <= BYTES_IN_FLIGHT

    def start(self, row: ManifestRow, image: Future[Future[PackedRow]]) -> None:
        """Count an image in."""
        share = self._share(row.size)
        self.images.append((row, share, image))
        self._held += share

    def land(self) -> PackedRow:
        """Wait for the oldest image and count it out."""
        row, share, image = self.images.popleft()
        try:
            packed = image.result().result()
        except ImageError as error:
            packed = PackedRow(row.failed(Status(error.status), error.reason), None)
        self._held -= share
        if packed.image is not None:
            self._source_bytes += row.size
            self._packed_bytes += len(packed.image)
        return packed

    def _share(self, size: int) -> int:
        # A small JPEG becomes a large PNG: what was packed so far shows how much an image holds in the end.
        return max(size, size * self._packed_bytes // self._source_bytes)


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
        """The object's bytes, as a buffer outside Python's memory where possible, if it has the listed ETag.

        Raises ImageError with the status `missing` or `changed`, DatasetError if access is denied, and OSError
        if the server keeps failing or the body keeps arriving shorter than listed.
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
        except PreconditionError:  # replaced while obstore continued where the body had broken off
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


class _BrokenBodyError(Exception):
    """A body that broke off while it was read: both clients retry requests at length, but not always this."""


def _missing() -> ImageError:
    return ImageError(Status.MISSING, "the object was deleted after it was listed")


def _changed() -> ImageError:
    return ImageError(Status.CHANGED, "the object was replaced after it was listed; the next version takes the new one")


def _failing(image: ManifestRow, error: Exception) -> Exception:
    refusal = explained(error, image.uri)
    if refusal is not None:
        return DatasetError(f"{image.uri} {refusal}")
    return OSError(f"{image.uri} cannot be read: {_first_line(error)}; clear the task when S3 answers again")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:400]


class _Packer:
    def __init__(self, options: ImageOptions, longest: int) -> None:
        self._options = options
        self._longest = longest
        self._memory = DecodingMemory()

    def pack(self, row: ManifestRow, fetched: Bytes | bytes) -> PackedRow:
        source = bytes(fetched)  # here, where few images are at a time, and not in every thread that reads
        header = accept_image(source, self._options)
        with self._memory.take(working_bytes(header, self._options)):
            packed = pack_image(source, self._options, header)
            if self._options.pass_through:
                packed = PackedImage(source, *readable_size(source))
        if len(packed.data) > self._longest:
            raise ImageError(
                Status.TOO_LARGE, f"packed it has {len(packed.data)} bytes, a record has room for {self._longest}"
            )
        reason = remarks(row.key, source, header, packed, self._options)
        done = replace(row, status=Status.PACKED, reason=reason, width=packed.width, height=packed.height)
        return PackedRow(done, packed.data)
