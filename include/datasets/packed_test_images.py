"""The packed test images of a version as objects of their own, one for each: what a batch transform sends."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.datasets.errors import DatasetError
from include.recordio.format import decode_image_record, read_records
from include.recordio.header import format_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.layout import VersionLayout
    from include.datasets.version import DatasetVersion

log = logging.getLogger(__name__)

KINDS = {
    "JPEG": (".jpg", "image/jpeg"),
    "PNG": (".png", "image/png"),
    "BMP": (".bmp", "image/bmp"),
    "TIFF": (".tif", "image/tiff"),
}
OTHER_KIND = (".img", "application/octet-stream")


@dataclass(frozen=True)
class PackedTestImages:
    """The objects under `prefix` (`s3://...`), in the order of their records; `largest` is in bytes.

    They are packed, or copies of the source images.
    """

    prefix: str
    names: list[str]
    largest: int

    @property
    def uris(self) -> list[str]:
        """The addresses of the objects."""
        return [f"{self.prefix}{name}" for name in self.names]


def write_packed_test_images(s3: S3Client, version: DatasetVersion) -> PackedTestImages:
    """Write the image of every test record to an object of its own, and list the objects.

    Objects that an earlier evaluation of the version wrote are kept: a record never changes, so where all are there no
    record is read, and after a kill only the missing ones are written. Memory holds 64 MB of images at most, and the
    names. Raises DatasetError for a version without test images.
    """
    version.channel_uri("test")
    layout = version.layout
    offsets = _offsets(s3, layout)
    stored = stored_images(s3, layout.bucket, layout.test_images)
    missing = [offset for record_id, offset in offsets.items() if record_id not in stored]
    if missing:
        _write_from(s3, layout, min(missing), stored)
        log.info("Wrote %d of %d packed test images to %s.", len(missing), len(offsets), layout.test_images_uri)
    found = [stored[record_id] for record_id in offsets]
    return PackedTestImages(layout.test_images_uri, [name for name, _ in found], max(size for _, size in found))


def record_id_of(uri: str) -> int:
    """The id of the record behind a packed test image. Raises DatasetError for the address of anything else."""
    record_id = _record_id(uri)
    if record_id is None:
        raise DatasetError(f"{uri} is not a packed test image: its name is not the number of a record")
    return record_id


def _record_id(key: str) -> int | None:
    stem = key.rpartition("/")[2].partition(".")[0]
    return int(stem) if stem.isascii() and stem.isdigit() else None


def _offsets(s3: S3Client, layout: VersionLayout) -> dict[int, int]:
    """The first byte of each test record by its id, in the order of the file."""
    lines = s3.get_object(Bucket=layout.bucket, Key=layout.index("test"))["Body"].iter_lines()
    pairs = (line.split(b"\t") for line in lines)
    return {int(record_id): int(offset) for record_id, offset in pairs}


def stored_images(s3: S3Client, bucket: str, prefix: str) -> dict[int, tuple[str, int]]:
    """Name and size of each object that is there, by the id of its record."""
    found: dict[int, tuple[str, int]] = {}
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for entry in (entry for page in pages for entry in page.get("Contents", ())):
        name = entry["Key"].removeprefix(prefix)
        record_id = _record_id(name)
        if record_id is not None:
            found[record_id] = (name, entry["Size"])
    return found


def _write_from(s3: S3Client, layout: VersionLayout, start: int, stored: dict[int, tuple[str, int]]) -> None:
    """Write the images that are not stored, reading the records from the byte `start` on; notes them as stored."""
    # obstore takes a while to load, and most evaluations find all images there.
    from include.datasets.objects import ObjectWriter, StoredObjects  # noqa: PLC0415

    answer = s3.get_object(Bucket=layout.bucket, Key=layout.records("test"), Range=f"bytes={start}-")
    with answer["Body"] as body, ObjectWriter(s3, StoredObjects(s3, layout.bucket, layout.test_images)) as writer:
        for record in read_records(body):
            image = decode_image_record(record.payload)
            if image.id in stored:
                continue
            ending, content_type = KINDS.get(format_of(image.image) or "", OTHER_KIND)
            name = f"{image.id:010d}{ending}"
            writer.put(f"{layout.test_images}{name}", image.image, content_type=content_type)
            stored[image.id] = name, len(image.image)
