"""The images of a version as objects of their own, for jobs that do not read records.

The packed test images are what a batch transform sends. The source images of the test split, byte for byte as they lie
in S3, are what a client sends that packs nothing: an image that no such client gets an answer for is named with the
reason and left out. The images of a channel as class folders are for code that reads files. Each is made once for a
version.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, TypeAdapter

from include.datasets.errors import DatasetError
from include.datasets.layout import parse_s3_uri
from include.datasets.version import DatasetVersion, HeldOutImage, held_out_images, manifest_of_test_images
from include.recordio.format import decode_image_record, read_records
from include.recordio.header import MXNET_STARTS, format_of, is_truncated_jpeg
from include.sagemaker.api import existing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.layout import VersionLayout
    from include.datasets.objects import ObjectWriter

log = logging.getLogger(__name__)

KINDS = {
    "JPEG": (".jpg", "image/jpeg"),
    "PNG": (".png", "image/png"),
    "BMP": (".bmp", "image/bmp"),
    "TIFF": (".tif", "image/tiff"),
}
OTHER_KIND = (".img", "application/octet-stream")
FOLDERS = "folders"
READERS = 8
AHEAD = 16
"""Images that are read before their turn comes."""


def kind_of(image: bytes) -> tuple[str, str]:
    """The ending and the content type of the object that an image becomes."""
    return KINDS.get(format_of(image) or "", OTHER_KIND)


def _writer(s3: S3Client, bucket: str, prefix: str) -> ObjectWriter:
    # obstore takes a while to load, and most jobs find all images there.
    from include.datasets.objects import ObjectWriter, StoredObjects  # noqa: PLC0415

    return ObjectWriter(s3, StoredObjects(s3, bucket, prefix))


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
    answer = s3.get_object(Bucket=layout.bucket, Key=layout.records("test"), Range=f"bytes={start}-")
    with answer["Body"] as body, _writer(s3, layout.bucket, layout.test_images) as writer:
        for record in read_records(body):
            image = decode_image_record(record.payload)
            if image.id in stored:
                continue
            ending, content_type = kind_of(image.image)
            name = f"{image.id:010d}{ending}"
            writer.put(f"{layout.test_images}{name}", image.image, content_type=content_type)
            stored[image.id] = name, len(image.image)


class UnsentImage(BaseModel):
    """A test image that is not sent, and why; `id` is that of its record."""

    model_config = ConfigDict(frozen=True)

    id: int
    key: str
    reason: str


_UNSENT = TypeAdapter(list[UnsentImage])


@dataclass(frozen=True)
class _SourceObject:
    bucket: str
    key: str
    etag: str
    size: int


def with_sources(
    s3: S3Client, version: DatasetVersion, images: Iterable[HeldOutImage], *, largest: int
) -> Iterator[HeldOutImage | UnsentImage]:
    """The images with the bytes of their source objects, in the same order.

    `largest` is what a request to an endpoint holds. Not sent are larger images, those that were deleted or replaced
    since the version was built, and formats that the algorithm does not read.
    """
    objects = _source_objects(s3, version)

    def read(image: HeldOutImage) -> HeldOutImage | UnsentImage:
        source = _source(s3, objects[image.id], largest)
        if isinstance(source, bytes):
            return replace(image, image_bytes=source)
        return UnsentImage(id=image.id, key=image.key, reason=source)

    remaining = iter(images)
    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque[Future[HeldOutImage | UnsentImage]] = deque(
            pool.submit(read, image) for image in islice(remaining, AHEAD)
        )
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(read, image) for image in islice(remaining, 1))


def write_source_test_images(
    s3: S3Client, version: DatasetVersion, *, largest: int
) -> tuple[PackedTestImages, list[UnsentImage]]:
    """Copy the source image of every test record to an object of its own; those that cannot be sent are listed beside.

    What an earlier evaluation of the version copied is used again, also if a source object has changed since: so all
    models are measured on the same images. The list is written last. Raises DatasetError if none can be sent.
    """
    layout = version.layout
    known = unsent_images(s3, version)
    if known is None:
        known = []
        with _writer(s3, layout.bucket, layout.source_test_images) as writer:
            for image in with_sources(s3, version, held_out_images(s3, version), largest=largest):
                if isinstance(image, UnsentImage):
                    known.append(image)
                    continue
                ending, kind = kind_of(image.image_bytes)
                writer.put(f"{layout.source_test_images}{image.id:010d}{ending}", image.image_bytes, content_type=kind)
        s3.put_object(
            Bucket=layout.bucket,
            Key=layout.unsent_test_images,
            Body=_UNSENT.dump_json(known, indent=2),
            ContentType="application/json",
        )
        log.info("Copied %d source images of the test split; %d cannot be sent.", writer.count, len(known))
    stored = stored_images(s3, layout.bucket, layout.source_test_images)
    left_out = {image.id for image in known}  # a killed try may have copied one that is gone now
    sent = [found for record_id, found in sorted(stored.items()) if record_id not in left_out]
    if not sent:
        raise DatasetError(
            f"evaluation.images = source: none of the {len(known)} test images of {version.uri} can be sent as it is "
            f"({known[0].key}: {known[0].reason}): set it to packed"
        )
    prefix = f"s3://{layout.bucket}/{layout.source_test_images}"
    return PackedTestImages(prefix, [name for name, _ in sent], max(size for _, size in sent)), known


def unsent_images(s3: S3Client, version: DatasetVersion) -> list[UnsentImage] | None:
    """The test images that `write_source_test_images` could not copy; None if it has not come to its end yet."""
    layout = version.layout
    answer = existing(s3.get_object, Bucket=layout.bucket, Key=layout.unsent_test_images)
    return None if answer is None else _UNSENT.validate_json(answer["Body"].read())


def _source_objects(s3: S3Client, version: DatasetVersion) -> dict[int, _SourceObject]:
    rows = manifest_of_test_images(s3, version, ["record_id", "bucket", "key", "etag", "size"])
    places = zip(rows["bucket"], rows["key"], rows["etag"], rows["size"], strict=True)
    return {record_id: _SourceObject(*place) for record_id, place in zip(rows["record_id"], places, strict=True)}


def _source(s3: S3Client, source: _SourceObject, largest: int) -> bytes | str:
    """The bytes of a source object, or why they are not sent."""
    if source.size > largest:
        return f"{source.size} bytes, a request may have {largest}"
    try:
        answer = s3.get_object(Bucket=source.bucket, Key=source.key, IfMatch=f'"{source.etag}"')
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404:
            return "the source image was deleted since the version was built"
        if status == 412:
            return "the source image was replaced since the version was built"
        raise
    body = answer["Body"].read()
    if not body.startswith(MXNET_STARTS):
        return f"{format_of(body) or 'unknown format'}: the algorithm reads JPEG, PNG, BMP and TIFF"
    return "the JPEG ends early" if is_truncated_jpeg(body) else body


def folders_of(channel: str) -> str:
    """Where the class folders of a channel of records lie: beside it, `.../folders/train/` for `.../train/`."""
    above, _, name = channel.rstrip("/").rpartition("/")
    return f"{above}/{FOLDERS}/{name}/"


def write_class_folders(s3: S3Client, version: DatasetVersion, channel: str) -> str:
    """Write every image of a channel of records to `LABEL/RECORD.jpg` below `folders_of` it; returns that address.

    The images pass through memory, 64 MB of them at most. A document that is written last shows that all are there: a
    second call writes nothing, and one after a kill only what is missing. Raises DatasetError for a version with
    several labels for an image, and for a label that cannot name a folder.
    """
    if why := unfit_for_folders(version):
        raise DatasetError(f"training.algorithm.channels = folders: {why}")
    target = folders_of(channel)
    bucket, prefix = parse_s3_uri(target)
    done = f"{prefix.rstrip('/')}.json"
    if existing(s3.head_object, Bucket=bucket, Key=done) is not None:
        return target
    _, records = parse_s3_uri(channel)
    name = records.rstrip("/").rpartition("/")[2]
    answer = s3.get_object(Bucket=bucket, Key=f"{records}{name}.rec")
    with answer["Body"] as body, _writer(s3, bucket, prefix) as writer:
        for record in read_records(body):
            image = decode_image_record(record.payload)
            ending, content_type = kind_of(image.image)
            label = version.labels[int(image.labels[0])]
            writer.put(f"{prefix}{label}/{image.id:010d}{ending}", image.image, content_type=content_type)
    s3.put_object(Bucket=bucket, Key=done, Body=json.dumps({"images": writer.count}).encode())
    log.info("Wrote the %d images of %s as class folders: %s", writer.count, channel, target)
    return target


def unfit_for_folders(version: DatasetVersion) -> str:
    """Why the classes of a version cannot be folders, and what to do; empty if they can."""
    name = f"{version.name}/{version.version}"
    if version.multi_label:
        return f"an image of {name} has several labels and cannot be in one folder: choose recordio or manifest"
    unfit = [label for label in version.labels if "/" in label or label in (".", "..")]
    if unfit:
        return f"the label {unfit[0]!r} of {name} cannot name a folder: choose recordio or manifest, or rename it"
    return ""
