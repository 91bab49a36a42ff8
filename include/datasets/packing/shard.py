"""Pack one shard: S3 -> memory -> packed shard -> S3, with a report of its progress now and then."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict

from include.datasets.errors import DatasetError
from include.datasets.labels import class_indices, label_vector
from include.datasets.layout import Split
from include.datasets.manifest import ManifestRow, read_manifest, to_rows, to_table, write_manifest
from include.datasets.multipart import ObjectSink
from include.datasets.packing.images_in_order import pack_images
from include.datasets.source_image import Status
from include.datasets.version import ShardTask, VersionPlan
from include.recordio.format import BinarySink, RecordWriter, encode_image_record

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import ShardTask

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
