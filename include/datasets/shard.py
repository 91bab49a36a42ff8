"""Pack one shard: S3 -> memory -> packed shard -> S3."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import cv2
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.fetch import ObjectFetcher
from include.datasets.label_vectors import class_indices, label_vector
from include.datasets.layout import Split
from include.datasets.manifest import PACKED, ManifestRow, read_manifest, to_rows, to_table, write_manifest
from include.datasets.multipart import ObjectSink
from include.datasets.plan import ShardTask, VersionPlan
from include.recordio.format import MAX_LENGTH, encode_image_record
from include.recordio.images import ImageError, PackedImage, is_truncated_jpeg, pack_image, readable_size
from include.recordio.options import ImageOptions
from include.recordio.writer import BinarySink, RecordWriter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

BYTES_IN_FLIGHT = 128 << 20
"""Source bytes between their GET and the shard; an image larger than this travels alone."""
IMAGES_IN_FLIGHT = 256
REPORT_SECONDS = 10.0


class ShardResult(BaseModel):
    """What a packed shard holds; its rows lie in its part of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    split: Split
    fingerprint: str
    records: int
    bytes: int
    """Size of the shard's ``.rec``."""
    bad: dict[str, int]
    """Images that were not packed, by status."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is: images done (bad ones too), images in all, and images a second so far."""

    done: int
    total: int
    bad: int
    images_per_second: float


Report = Callable[[ShardProgress], None]


def pack_shard(s3: S3Client, plan: VersionPlan, shard: ShardTask, *, report: Report | None = None) -> ShardResult:
    """Pack a planned shard, or return the result of the same shard packed before.

    Images are read and packed by several threads and written in the plan's order; memory holds a bounded number of
    bytes, disk none. Bad images become rows with their status and reason. ``report`` hears of the progress about every
    ten seconds and at the end. Raises DatasetError where the plan is gone or the source may not be read.
    """
    finished = _finished_result(s3, plan, shard)
    if finished is not None:
        logger.info("Shard %s was packed before: %s records are reused", shard.index, finished.records)
        return finished
    rows = _planned_rows(s3, plan, shard)
    started = time.monotonic()
    progress = _Progress(shard, report or _ignore)
    with ObjectSink(s3, plan.bucket, plan.layout.packed_shard(shard.index)) as sink:
        done, size = asyncio.run(_pack_rows(s3, plan, rows, sink, progress))
    write_manifest(s3, plan.bucket, plan.layout.shard_manifest(shard.index), to_table(done))
    statuses = Counter(row.status for row in done)
    result = ShardResult(
        index=shard.index,
        split=shard.split,
        fingerprint=shard.fingerprint,
        records=statuses.pop(PACKED, 0),
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
            f"the plan of shard {shard.index} of {plan.layout.uri} is gone, as after publishing: "
            "clear the planning task, which finds the published version or plans it again"
        ) from None


async def _pack_rows(
    s3: S3Client, plan: VersionPlan, rows: Sequence[ManifestRow], sink: BinarySink, progress: _Progress
) -> tuple[list[ManifestRow], int]:
    writer = RecordWriter(sink)
    indices = class_indices(plan.labels)
    done: list[ManifestRow] = []
    async with aclosing(_packed_in_order(s3, rows, plan.packing)) as images:
        async for row, packed in images:
            if packed is None:
                done.append(row)
            else:
                record_id = cast(int, row.record_id)  # every planned row has one
                vector = label_vector(row.labels, indices, multi_label=plan.multi_label, origin=row.uri)
                payload = encode_image_record(vector, record_id, packed)
                # A write may wait for the upload of earlier bytes, which must not hold up the GETs.
                offset = await asyncio.to_thread(writer.write, record_id, payload)
                done.append(replace(row, offset=offset))
            progress.step(bad=packed is None)
    return done, writer.offset


async def _packed_in_order(
    s3: S3Client, rows: Sequence[ManifestRow], options: ImageOptions
) -> AsyncGenerator[tuple[ManifestRow, bytes | None], None]:
    threads = os.cpu_count() or 1
    cv2.setNumThreads(1)  # the images of a shard are the parallel work, not the rows of one image
    fetcher = ObjectFetcher(s3)
    pending: deque[tuple[int, asyncio.Task[tuple[ManifestRow, bytes | None]]]] = deque()
    in_flight = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for row in rows:
                while pending and (len(pending) >= IMAGES_IN_FLIGHT or in_flight + row.size > BYTES_IN_FLIGHT):
                    size, oldest = pending.popleft()
                    yield await oldest
                    in_flight -= size
                pending.append((row.size, asyncio.create_task(_fetch_and_pack(fetcher, pool, row, options))))
                in_flight += row.size
            while pending:
                yield await pending.popleft()[1]
        finally:
            unfinished = [task for _, task in pending]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            fetcher.close()


async def _fetch_and_pack(
    fetcher: ObjectFetcher, pool: ThreadPoolExecutor, row: ManifestRow, options: ImageOptions
) -> tuple[ManifestRow, bytes | None]:
    try:
        source = await fetcher.fetch(row)
        packed = await asyncio.get_running_loop().run_in_executor(pool, _pack, source, options)
    except ImageError as error:
        return row.failed(error.status, error.reason), None
    reason = "truncated: the missing part is gray" if is_truncated_jpeg(source) else None
    return replace(row, status=PACKED, reason=reason, width=packed.width, height=packed.height), packed.data


def _pack(source: bytes, options: ImageOptions) -> PackedImage:
    packed = pack_image(source, options)
    if options.pass_through:
        width, height = readable_size(source)
        packed = replace(packed, width=width, height=height)
    if len(packed.data) > MAX_LENGTH - 64:
        raise ImageError("too_large", f"packed it has {len(packed.data)} bytes, a record holds at most {MAX_LENGTH}")
    return packed


class _Progress:
    def __init__(self, shard: ShardTask, report: Report) -> None:
        self._shard = shard
        self._report = report
        self._started = self._told = time.monotonic()
        self._done = 0
        self._bad = 0

    def step(self, *, bad: bool) -> None:
        self._done += 1
        self._bad += bad
        if time.monotonic() - self._told >= REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        rate = self._done / max(self._told - self._started, 1e-6)
        state = ShardProgress(self._done, self._shard.images, self._bad, rate)
        logger.info(
            "Shard %s (%s): %s of %s images, %s bad, %.0f images/s",
            self._shard.index,
            self._shard.split,
            state.done,
            state.total,
            state.bad,
            state.images_per_second,
        )
        self._report(state)


def _ignore(_: ShardProgress) -> None:
    return None
