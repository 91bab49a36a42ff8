"""The source images of the test split, byte for byte as they lie in S3: what a client sends that packs nothing.

An image that no such client gets an answer for is named with the reason and left out.
"""

from __future__ import annotations

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
from include.datasets.packed_test_images import KINDS, OTHER_KIND, PackedTestImages, stored_images
from include.datasets.version import HeldOutImage, held_out_images, manifest_of_test_images
from include.recordio.header import format_of
from include.recordio.images import MXNET_STARTS, is_truncated_jpeg

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from include.datasets.version import DatasetVersion

log = logging.getLogger(__name__)

READERS = 8
AHEAD = 16
"""Images that are read before their turn comes."""


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
        # obstore takes a while to load, and most evaluations find all images there.
        from include.datasets.objects import ObjectWriter, StoredObjects  # noqa: PLC0415

        known = []
        with ObjectWriter(s3, StoredObjects(s3, layout.bucket, layout.source_test_images)) as writer:
            for image in with_sources(s3, version, held_out_images(s3, version), largest=largest):
                if isinstance(image, UnsentImage):
                    known.append(image)
                    continue
                ending, kind = KINDS.get(format_of(image.image_bytes) or "", OTHER_KIND)
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
    try:
        body = s3.get_object(Bucket=layout.bucket, Key=layout.unsent_test_images)["Body"].read()
    except ClientError as error:
        if _status(error) != 404:
            raise
        return None
    return _UNSENT.validate_json(body)


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
        if _status(error) == 404:
            return "the source image was deleted since the version was built"
        if _status(error) == 412:
            return "the source image was replaced since the version was built"
        raise
    body = answer["Body"].read()
    if not body.startswith(MXNET_STARTS):
        return f"{format_of(body) or 'unknown format'}: the algorithm reads JPEG, PNG, BMP and TIFF"
    return "the JPEG ends early" if is_truncated_jpeg(body) else body


def _status(error: ClientError) -> int | None:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
